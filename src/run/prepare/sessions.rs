//! What attempts that go on after the handshake say and send, made ready before the load: the commands of each kind of
//! client to each target, and audio and video as bytes that all publishers share.

use std::sync::Arc;

use crate::base::{Nanos, input};
use crate::engine::{MediaTrack, ScriptSpec, SessionPlan, SessionRules};
use crate::io::Bytes;
use crate::load::{StreamKeys, StreamName};
use crate::measure::Until;
use crate::protocol::C2_SIZE;
use crate::protocol::ClientProfile;
use crate::protocol::media::Track;
use crate::protocol::session::{ClientSession, Course, ScriptOptions, SessionScript};

use crate::run::plan::{MediaSource, Population, RunPlan, Target};

/// The longest file of audio and video that is read: one byte more than a track takes, whose error has the remedy.
const LONGEST_MEDIA: u64 = Track::MAX_FILE as u64 + 1;

/// The trickle has no hurry: a message a second keeps its connection, whenever it leaves.
const TRICKLE_TICK: Nanos = Nanos::from_millis(16);

/// The sessions of a plan, ready for every worker.
#[derive(Debug, Default)]
pub(super) struct PreparedSessions {
    scripts: Vec<(ScriptKey, PreparedScript)>,
    tracks: Vec<(TrackKey, Arc<Track>, u32)>,
    media: Vec<u8>,
    /// By population; `None` where attempts are complete with the handshake.
    rules: Vec<Option<PopulationRules>>,
    /// Bytes of the longest name of a stream.
    longest_name: usize,
}

/// The most that `connect` may have for application and URL: it is one message, and clients send the URL up to twice.
const MAX_CONNECT: usize = 0xff_ffff;
/// What else is in it.
const REST_OF_CONNECT: usize = 1024;

/// What a script depends on.
#[derive(Debug, PartialEq)]
struct ScriptKey {
    profile: ClientProfile,
    app: String,
    tc_url: String,
    course: Course,
}

#[derive(Debug)]
struct PreparedScript {
    script: Arc<SessionScript>,
    trickle: Option<u16>,
    clip: Option<u16>,
}

/// What a track depends on.
#[derive(Clone, Copy, Debug, PartialEq)]
struct TrackKey {
    clip: bool,
    chunk_size: u32,
}

#[derive(Debug)]
struct PopulationRules {
    course: Course,
    scripts: Box<[u32]>,
    names: Box<[StreamName]>,
    keys: Arc<StreamKeys>,
}

impl PreparedSessions {
    /// Makes ready what the populations of `plan` need.
    ///
    /// # Errors
    /// If a file cannot be read or holds no audio and video: the cause and the remedy.
    pub(super) fn new(plan: &RunPlan) -> Result<Self, String> {
        let mut prepared = Self::default();
        for population in &plan.populations {
            let rules = course(population.until).map(|course| prepared.rules(plan, population, course)).transpose()?;
            prepared.rules.push(rules);
        }
        Ok(prepared)
    }

    /// The bytes of all tracks, which all workers share.
    pub(super) fn media(&self) -> Bytes {
        self.media.as_slice().into()
    }

    /// The longest send: C2 with the first commands, or later ones.
    pub(super) fn send_size(&self) -> u32 {
        let most = |(_, prepared): &(ScriptKey, PreparedScript)| {
            ClientSession::max_output(&prepared.script, self.longest_name)
        };
        (C2_SIZE + self.scripts.iter().map(most).max().unwrap_or(0)) as u32
    }

    /// What one worker's sessions use.
    pub(super) fn plan(&self, plan: &RunPlan, worker: u32) -> SessionPlan {
        let part = plan.share.split(worker, plan.workers);
        let script = |(key, prepared): &(ScriptKey, PreparedScript)| ScriptSpec {
            script: Arc::clone(&prepared.script),
            app_query: key.app.find('?').map_or("", |at| &key.app[at..]).into(),
            trickle: prepared.trickle,
            clip: prepared.clip,
        };
        SessionPlan {
            scripts: self.scripts.iter().map(script).collect(),
            tracks: self
                .tracks
                .iter()
                .map(|(key, track, offset)| MediaTrack {
                    track: Arc::clone(track),
                    offset: *offset,
                    tick: if key.clip { Nanos::new(1) } else { TRICKLE_TICK },
                })
                .collect(),
            send_size: self.send_size(),
            name_size: self.longest_name as u32,
            source_names: plan.sources.iter().map(ToString::to_string).collect(),
            worker: part.index,
            workers: part.count,
        }
    }

    /// How the attempts of a population's lane go on; `first_client` is the number of the worker's first slot among all
    /// of the lane's.
    pub(super) fn rules_of(&self, plan: &RunPlan, population: usize, first_client: u32) -> Option<SessionRules> {
        let rules = self.rules[population].as_ref()?;
        let percent = plan.media.as_ref().map_or(0, |media| media.clients_percent);
        Some(SessionRules {
            course: rules.course,
            scripts: rules.scripts.clone(),
            names: rules.names.clone(),
            keys: Arc::clone(&rules.keys),
            first_client,
            clip_weights: [100 - percent, percent],
        })
    }

    fn rules(&mut self, plan: &RunPlan, population: &Population, course: Course) -> Result<PopulationRules, String> {
        let mut scripts = Vec::new();
        let mut names: Vec<StreamName> = Vec::new();
        for share in &population.clients {
            for target in &plan.targets {
                let profile = share.client.profile;
                scripts.push(self.script(plan, profile, target, &population.app_at(target, profile), course)?);
                names.push(population.stream_at(target, profile));
            }
        }
        let source =
            plan.sources.iter().map(|source| source.to_string().len()).max().unwrap_or_default().max("any".len());
        let keys = Arc::clone(&population.stream_keys);
        let longest = names.iter().map(|name| name.max_len(source, keys.longest())).max().unwrap_or_default();
        self.longest_name = self.longest_name.max(longest);
        Ok(PopulationRules { course, scripts: scripts.into(), names: names.into(), keys })
    }

    /// The index of a script, made if there is none yet.
    fn script(
        &mut self,
        plan: &RunPlan,
        profile: ClientProfile,
        target: &Target,
        app: &str,
        course: Course,
    ) -> Result<u32, String> {
        let key = ScriptKey { profile, app: app.to_owned(), tc_url: target.tc_url_of(app), course };
        if let Some(index) = self.scripts.iter().position(|(known, _)| *known == key) {
            return Ok(index as u32);
        }
        let length = key.app.len() + 2 * key.tc_url.len();
        if length > MAX_CONNECT - REST_OF_CONNECT {
            return Err(format!(
                "the application of '{}' makes `connect` longer than the {MAX_CONNECT} bytes that a message may have; \
                 shorten it or its query",
                target.name
            ));
        }
        let spec = profile.session().expect("hostile clients have no session, which is checked when it is planned");
        let options = ScriptOptions { four_cc: plan.enhanced_rtmp };
        let script = Arc::new(SessionScript::new(&spec, &key.app, &key.tc_url, course, options));
        let mut prepared = PreparedScript { trickle: None, clip: None, script };
        if course == Course::Publish {
            let chunk_size = prepared.script.chunk_size();
            prepared.trickle = Some(self.track(plan, TrackKey { clip: false, chunk_size })?);
            if plan.media.is_some() {
                prepared.clip = Some(self.track(plan, TrackKey { clip: true, chunk_size })?);
            }
        }
        self.scripts.push((key, prepared));
        Ok(self.scripts.len() as u32 - 1)
    }

    /// The index of a track, made if there is none yet.
    fn track(&mut self, plan: &RunPlan, key: TrackKey) -> Result<u16, String> {
        if let Some(index) = self.tracks.iter().position(|(known, ..)| *known == key) {
            return Ok(index as u16);
        }
        let track = match plan.media.as_ref().filter(|_| key.clip).map(|media| &media.source) {
            None => Track::trickle(key.chunk_size),
            Some(MediaSource::BitsPerSecond(rate)) => {
                Track::of_bit_rate(*rate, key.chunk_size).map_err(|error| error.to_string())?
            }
            Some(MediaSource::File(path)) => {
                let named = input::name(path).display();
                let file = input::read(path, LONGEST_MEDIA)
                    .map_err(|error| format!("cannot read {named}: {error}; give --media an FLV file"))?;
                Track::from_flv(&file, key.chunk_size).map_err(|error| format!("{named}: {error}"))?
            }
        };
        let offset = u32::try_from(self.media.len() + track.bytes().len())
            .map(|end| end - track.bytes().len() as u32)
            .map_err(|_| "audio and video of all kinds of client exceed 4 GiB; give a shorter file".to_owned())?;
        self.media.extend_from_slice(track.bytes());
        self.tracks.push((key, Arc::new(track), offset));
        Ok(self.tracks.len() as u16 - 1)
    }
}

/// What a session is for; none where attempts are complete with the handshake.
const fn course(until: Until) -> Option<Course> {
    match until {
        Until::Handshake => None,
        Until::Reply => Some(Course::Reply),
        Until::Connect => Some(Course::Connect),
        Until::Publish => Some(Course::Publish),
        Until::Play => Some(Course::Play),
    }
}
