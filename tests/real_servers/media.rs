//! Audio and video that we publish and ffmpeg plays, and our session as tshark reads it.

use crate::support::{Capture, Load, Nginx, NginxOptions, malformed_packets, packets, record_flv, streams, tshark};

/// Seconds of the file, and its frames.
const SECONDS: u32 = 2;
const FRAMES: usize = 50;

/// ffmpeg joins while the file is played again and again, and sees each of its frames in its turn.
#[test]
fn ffmpeg_plays_every_frame_of_a_file_that_we_publish() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("clip.flv");
    record_flv(&file, SECONDS);
    let clip = packets(file.to_str().expect("a path in UTF-8"), 10 * FRAMES);
    assert_eq!(clip.len(), FRAMES);

    let nginx = Nginx::start(NginxOptions { statistics: true, ..NginxOptions::default() });
    let url = nginx.url("clip");
    let options = format!("-c 1 -d 10m --until publish --hold forever --media {}", file.display());
    let mut load = Load::start(&format!("{url} {options}"));
    load.wait_until(|| streams(&nginx.statistics()) == [1, 1]);
    let played = packets(&url, 2 * FRAMES);
    assert_eq!(played.len(), 2 * FRAMES);

    let first = clip.iter().position(|(_, checksum)| *checksum == played[0].1).expect("a frame of the file");
    let expected = clip.iter().cycle().skip(first).map(|(_, checksum)| checksum);
    assert!(played.iter().map(|(_, checksum)| checksum).eq(expected.take(2 * FRAMES)), "{played:?} of {clip:?}");
    // The file's sound is a little longer than its picture, and it begins again when both are over.
    for pair in played.windows(2) {
        let step = pair[1].0 - pair[0].0;
        let begins_again = pair[1].1 == clip[0].1;
        assert!(if begins_again { (40..80).contains(&step) } else { step == 40 }, "25 frames a second: {played:?}");
    }

    let result = load.interrupt().ended_with(130);
    assert_eq!((result.connections.held, result.connections.lost_while_held), (1, 0));
    assert!(result.media.sent_messages > 2 * FRAMES as u64, "{:?}", result.media);
}

#[test]
fn tshark_reads_whole_sessions_of_publishers_and_players() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("clip.flv");
    record_flv(&file, SECONDS);
    let nginx = Nginx::start(NginxOptions { statistics: true, ..NginxOptions::default() });
    let port = nginx.address().port();
    let capture = Capture::start(port);
    let options = format!("-c 3 -d 10m --until publish --hold forever --media {} --close fin", file.display());
    let mut publishers = Load::start(&format!("{} {options}", nginx.url("clip-{id}")));
    publishers.wait_until(|| streams(&nginx.statistics()) == [3, 3]);
    let play =
        format!("{} -c 3 -d 10m --until play --hold forever --client ffmpeg-play --close fin", nginx.url("clip-0"));
    let mut players = Load::start(&play);
    players.wait_until(|| streams(&nginx.statistics()) == [3, 6]);
    assert_eq!(players.interrupt().ended_with(130).attempts.completed, 3);
    assert_eq!(publishers.interrupt().ended_with(130).attempts.completed, 3);

    let recorded = folder.path().join("session.pcap");
    capture.save(&recorded);
    assert_eq!(malformed_packets(&recorded, port), Vec::<Vec<String>>::new());
    let to_server = format!("tcp.dstport == {port} && rtmpt");
    let fields = tshark(&recorded, port, &to_server, &["rtmpt.header.typeid", "amf.string"]);
    let seen = |column: usize, what: &str| {
        fields
            .iter()
            .filter_map(|row| row.get(column))
            .flat_map(|cell| cell.split(','))
            .filter(|cell| *cell == what)
            .count()
    };
    assert_eq!((seen(1, "connect"), seen(1, "createStream")), (6, 6));
    assert_eq!((seen(1, "publish"), seen(1, "play"), seen(1, "deleteStream")), (3, 3, 6));
    let [audio, video] = ["0x08", "0x09"].map(|kind| seen(0, kind));
    assert!(audio > 0 && video > 0, "{audio} audio and {video} video");
}
