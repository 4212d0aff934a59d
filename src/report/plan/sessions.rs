//! What attempts do after the handshake, in words: said before a run and by `check`.

use std::time::Duration;

use crate::base::DurationText;
use crate::io::Engine;
use crate::run::{Population, RunPlan, Until};

/// What the attempts of a population say and what that sets off; none if they end with the handshake.
pub fn course(plan: &RunPlan, population: &Population) -> Option<String> {
    let hooks = match population.until {
        Until::Handshake => return None,
        Until::Reply | Until::Connect => "on_connect hooks",
        Until::Publish => "on_connect and on_publish hooks",
        Until::Play => "on_connect and on_play hooks",
    };
    let streams = population.streams(plan);
    let streams = match streams.as_slice() {
        [] => String::new(),
        [stream] => format!(" {stream}"),
        [first, others @ ..] => format!(" {first} and {} more", others.len()),
    };
    let connects = match population.apps(plan).as_slice() {
        // Where a URL may be divided in more than one way, it is said how it is.
        [first, others @ ..] if !others.is_empty() || population.app.is_some() || first.contains('/') => {
            let more = if others.is_empty() { String::new() } else { format!(" and {} more", others.len()) };
            format!("connects to {first}{more}")
        }
        _ => "connects".to_owned(),
    };
    let what = match population.until {
        Until::Publish => format!("{connects} and publishes{streams}"),
        Until::Play => format!("{connects} and plays{streams}"),
        _ => connects,
    };
    let fired = match plan.engine {
        Engine::Sim => String::new(),
        Engine::IoUring | Engine::Epoll if plan.built_in_sink => String::new(),
        Engine::IoUring | Engine::Epoll => format!("; {hooks} of the target fire"),
    };
    Some(format!("{what}{fired}"))
}

/// What publishers send while they are held; none if nobody publishes.
pub fn media(plan: &RunPlan) -> Option<String> {
    if !plan.asked().any(|population| population.until == Until::Publish) {
        return None;
    }
    Some(match &plan.media {
        None => "a picture, then a sound a second".to_owned(),
        Some(media) if media.clients_percent == 100 => format!("{} by each publisher", media.source),
        Some(media) => {
            format!("{} by {} % of the publishers, a sound a second by the others", media.source, media.clients_percent)
        }
    })
}

/// How connections are secured; none if no target wants it.
pub fn tls(plan: &RunPlan) -> Option<String> {
    let tls = plan.tls.as_ref()?;
    let trust = match &tls.ca {
        _ if tls.insecure => "any certificate is accepted".to_owned(),
        Some(file) => format!("certificates by {}", file.display()),
        None => "certificates by the authorities this host trusts".to_owned(),
    };
    let name = tls.server_name.as_ref().map(|name| format!(" for {name}")).unwrap_or_default();
    let handshakes = if tls.resume { "sessions are resumed" } else { "every handshake is a full one" };
    Some(format!("{trust}{name}, {handshakes}"))
}

/// How held connections are watched; none if they are only waited on.
pub fn hold_check(plan: &RunPlan) -> Option<String> {
    let check = DurationText(Duration::from_nanos(plan.hold_check_ns?));
    Some(format!("held connections are checked by TCP keepalive after {check} of silence"))
}
