//! What attempts do after the handshake: whether the clients can, what their streams are called, what they send, and how
//! their connections are secured and watched.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::base::Nanos;
use crate::io::Engine;
use crate::load::{MAX_STREAM_NAME, Share, StreamKeys, StreamName};
use crate::protocol::ClientProfile;
use crate::run::{
    ClientShare, DEFAULT_STREAM, Hold, Lane, LoadPlan, MediaPlan, MediaSource, Population, RunPlan, Target, TlsPlan,
    Until,
};
use crate::scenario::origins::{Origins, Setting};
use crate::scenario::request::{Percent, PopulationRequest, Request};
use crate::scenario::{PlanError, read_stream_keys};

/// The name of streams that have keys and no other name.
const KEYED_STREAM: &str = "{key}";
/// What the kernel takes as the idle time of a keep-alive, whole seconds.
const HOLD_CHECKS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(32_767)];

/// The stream keys that a population asks for.
pub(super) fn keys(asked: &PopulationRequest) -> Result<Option<Arc<StreamKeys>>, PlanError> {
    let read = |path: &PathBuf| {
        read_stream_keys(path).map(Arc::new).map_err(|error| asked.origins.refusal(&[Setting::STREAM_KEYS], error))
    };
    asked.stream_keys.as_ref().map(read).transpose()
}

/// The population with the names of its streams, once its clients are known to go as far as it asks.
pub(super) fn with_streams(
    population: Population,
    asked: &PopulationRequest,
    keys: Option<Arc<StreamKeys>>,
    targets: &[Target],
) -> Result<Population, PlanError> {
    let origins = &asked.origins;
    check_until(&population, origins)?;
    check_apps(&population, asked, targets)?;
    if population.until < Until::Publish {
        let unused = [(Setting::STREAM, asked.stream.is_some()), (Setting::STREAM_KEYS, asked.stream_keys.is_some())];
        return match unused.into_iter().find(|(_, given)| *given) {
            None => Ok(population),
            Some((setting, _)) => {
                let text = format!(
                    "{} names streams and the attempts of {} end before any; add {}, or drop it",
                    origins.name(setting),
                    population.name,
                    origins.written(Setting::UNTIL, Until::Publish)
                );
                Err(origins.refusal(&[setting], text))
            }
        };
    }
    let unnamed = population.pairs(targets).all(|(target, client)| population.stream_in_url(target, client).is_none());
    let default = if asked.stream_keys.is_some() { KEYED_STREAM } else { DEFAULT_STREAM };
    let stream = asked.stream.clone().or_else(|| unnamed.then(|| default.parse().expect("it is a name")));
    let population = Population { stream, stream_keys: keys.unwrap_or_default(), ..population };
    check_keys(&population, asked, targets)?;
    if population.until == Until::Play && unnamed && asked.stream.is_none() && asked.stream_keys.is_none() {
        check_played(&population, origins, targets)?;
    }
    Ok(population)
}

/// Clients connect if they are told to what, and what they find in a URL is no pattern: only streams have those.
fn check_apps(population: &Population, asked: &PopulationRequest, targets: &[Target]) -> Result<(), PlanError> {
    let origins = &asked.origins;
    if population.until == Until::Handshake {
        return match population.app {
            None => Ok(()),
            Some(_) => {
                let text = format!(
                    "{} names an application and the attempts of {} end before any is asked for; add {}, or drop it",
                    origins.name(Setting::APP),
                    population.name,
                    origins.written(Setting::UNTIL, Until::Connect)
                );
                Err(origins.refusal(&[Setting::APP], text))
            }
        };
    }
    let is_pattern = |(target, client): (&Target, ClientProfile)| {
        let app = population.shown_app_at(target, client);
        app.contains(['{', '}']).then_some((app, client))
    };
    for (target, _) in population.pairs(targets) {
        let name = population.app.as_ref().and_then(|app| target.behind(app)).filter(|name| !name.is_empty());
        if let Some(Err(error)) = name.map(str::parse::<StreamName>) {
            let text = format!("target '{}' names a stream that cannot be: {error}", target.name);
            return Err(origins.refusal(&[Setting::TARGETS], text));
        }
    }
    let Some((app, client)) = population.pairs(targets).find_map(is_pattern) else { return Ok(()) };
    let text = format!(
        "{client} takes '{app}' of the target's URL for the application, and only names of streams have placeholders; \
         say which is which with {} and {}",
        origins.name(Setting::APP),
        origins.name(Setting::STREAM)
    );
    Err(origins.refusal(&[Setting::TARGETS, Setting::APP], text))
}

/// Every client can do what completes an attempt.
fn check_until(population: &Population, origins: &Origins) -> Result<(), PlanError> {
    let Population { name, until, .. } = population;
    if *until == Until::Handshake {
        return Ok(());
    }
    let refusal = |text: String| Err(origins.refusal(&[Setting::CLIENTS, Setting::UNTIL], text));
    let profiles = || population.clients.iter().map(|ClientShare { client, .. }| client.profile);
    if let Some(hostile) = profiles().find(|profile| profile.session().is_none()) {
        return refusal(format!(
            "{hostile} says nothing after the handshake and {name} asks for {}; give it a population of its own in a \
             scenario, or drop one of them",
            origins.written(Setting::UNTIL, until)
        ));
    }
    let (can, what): (fn(ClientProfile) -> bool, _) = match until {
        Until::Publish => (ClientProfile::publishes, "publish"),
        Until::Play => (ClientProfile::plays, "play"),
        _ => return Ok(()),
    };
    match profiles().find(|profile| !can(*profile)) {
        None => Ok(()),
        Some(other) => {
            let able: Vec<&str> =
                ClientProfile::ALL.into_iter().filter(|profile| can(*profile)).map(ClientProfile::name).collect();
            refusal(format!(
                "{other} does not {what}, as {} asks; those that do are {}",
                origins.written(Setting::UNTIL, until),
                able.join(", ")
            ))
        }
    }
}

/// Keys are given where names ask for them, and only there.
fn check_keys(population: &Population, asked: &PopulationRequest, targets: &[Target]) -> Result<(), PlanError> {
    let origins = &asked.origins;
    match (asked.stream_keys.is_some(), uses_keys(population, targets)) {
        (true, false) => {
            let text = format!(
                "{} gives keys and the streams of {} have none in their names; write {{key}} into {}, or drop one of them",
                origins.name(Setting::STREAM_KEYS),
                population.name,
                origins.name(Setting::STREAM)
            );
            Err(origins.refusal(&[Setting::STREAM_KEYS], text))
        }
        (false, true) => {
            let text = format!(
                "the streams of {} are named by {{key}} and there are no keys; give a file with {}",
                population.name,
                origins.name(Setting::STREAM_KEYS)
            );
            Err(origins.refusal(&[Setting::STREAM], text))
        }
        _ => Ok(()),
    }
}

/// Who plays needs to know what. The simulated network and the built-in sink play any stream.
fn check_played(population: &Population, origins: &Origins, targets: &[Target]) -> Result<(), PlanError> {
    let real = |target: &Target| target.address.port() != 0 && !target.host.ends_with(".sim");
    if !population.targets.iter().any(|share| real(&targets[usize::from(share.target)])) {
        return Ok(());
    }
    let text = format!(
        "{} plays and does not say which stream; name one that is published with {}, or in the target's URL",
        population.name,
        origins.name(Setting::STREAM)
    );
    Err(origins.refusal(&[Setting::STREAM, Setting::UNTIL], text))
}

fn uses_keys(population: &Population, targets: &[Target]) -> bool {
    population.until >= Until::Publish && streams(population, targets).iter().any(StreamName::needs_keys)
}

/// The patterns of a population's names, that of each of its clients at each of its targets.
fn streams(population: &Population, targets: &[Target]) -> Vec<StreamName> {
    population.pairs(targets).map(|(target, client)| population.stream_at(target, client)).collect()
}

/// The most slots that a lane of the population can use: one for each stream key, which all machines of a share divide.
pub(super) fn most_slots(population: &Population, targets: &[Target], share: Share) -> u64 {
    if !uses_keys(population, targets) {
        return u64::MAX;
    }
    population.stream_keys.len() as u64 / u64::from(share.count)
}

/// The names fit into a command, there is a key for each of them, and each client that publishes has its own.
pub(super) fn check_names(
    plan: &RunPlan,
    asked: &[PopulationRequest],
    notes: &mut Vec<String>,
) -> Result<(), PlanError> {
    for (population, asked) in plan.populations.iter().zip(asked) {
        if population.until < Until::Publish {
            continue;
        }
        let streams = streams(population, &plan.targets);
        check_lengths(plan, population, asked, &streams)?;
        if streams.iter().any(StreamName::needs_keys) {
            check_key_for_each(plan.share, population, asked, notes)?;
        }
        if population.until == Until::Publish && streams.iter().any(StreamName::is_the_same_for_all) {
            check_sole_publisher(population, asked, notes)?;
        }
    }
    Ok(())
}

fn check_lengths(
    plan: &RunPlan,
    population: &Population,
    asked: &PopulationRequest,
    streams: &[StreamName],
) -> Result<(), PlanError> {
    let address = |index: &u16| plan.sources[usize::from(*index)].to_string().len();
    // Where the kernel chooses the address, its place in a name is taken by "any".
    let source = population.sources.iter().map(address).max().unwrap_or("any".len());
    let longest = streams.iter().map(|stream| stream.max_len(source, population.stream_keys.longest())).max();
    match longest {
        Some(longest) if longest > MAX_STREAM_NAME => {
            let text = format!(
                "a stream of {} may have a name of {longest} bytes; at most {MAX_STREAM_NAME} can be sent, shorten {}",
                population.name,
                asked.origins.name(Setting::STREAM)
            );
            Err(asked.origins.refusal(&[Setting::STREAM], text))
        }
        _ => Ok(()),
    }
}

/// Places are numbered through all machines of a share, in each lane from the beginning.
fn check_key_for_each(
    share: Share,
    population: &Population,
    asked: &PopulationRequest,
    notes: &mut Vec<String>,
) -> Result<(), PlanError> {
    let places = |lane: &Lane| match lane.load {
        LoadPlan::Storm { .. } => u64::from(lane.concurrency),
        LoadPlan::Open { .. } | LoadPlan::Closed { .. } => u64::from(lane.concurrency) * u64::from(share.count),
    };
    let needed = population.lanes.iter().map(places).max().unwrap_or(0);
    let keys = population.stream_keys.len() as u64;
    if needed > keys {
        let origins = &asked.origins;
        let text = format!(
            "{needed} connections of {} need a stream key each and there are {keys}; give more keys, or lower {}",
            population.name,
            origins.name(Setting::CONCURRENCY)
        );
        return Err(origins.refusal(&[Setting::STREAM_KEYS, Setting::CONCURRENCY], text));
    }
    let open = population.lanes.iter().any(|lane| matches!(lane.load, LoadPlan::Open { .. }));
    if open && asked.concurrency.is_none() && needed == keys {
        notes.push(format!("{} has {keys} stream keys and so at most as many connections at once", population.name));
    }
    Ok(())
}

/// All but the first publisher of a name are turned away. That may be what is asked, but not of a URL that was copied
/// from an encoder.
fn check_sole_publisher(
    population: &Population,
    asked: &PopulationRequest,
    notes: &mut Vec<String>,
) -> Result<(), PlanError> {
    let connections = population.concurrency();
    if connections <= 1 {
        return Ok(());
    }
    let (name, origins) = (&population.name, &asked.origins);
    if asked.stream.is_some() {
        notes.push(format!(
            "all {connections} connections of {name} publish the same stream: servers take the first and refuse the \
             others as name_taken; {{id}} or {{slot}} in {} gives each its own",
            origins.name(Setting::STREAM)
        ));
        return Ok(());
    }
    let text = format!(
        "the target's URL gives all {connections} connections of {name} the same stream, and servers take only the \
         first publisher of a name; write {{id}} or {{slot}} into it, give {}, or {}",
        origins.written(Setting::STREAM, "load-{id}"),
        origins.written(Setting::CONCURRENCY, 1)
    );
    Err(origins.refusal(&[Setting::TARGETS, Setting::STREAM], text))
}

/// The plan with what all its sessions have in common: media, checks of held connections, codecs and TLS.
pub(super) fn with_options(plan: RunPlan, request: &Request) -> Result<RunPlan, PlanError> {
    Ok(RunPlan {
        media: media(request, &plan)?,
        hold_check_ns: hold_check(request, &plan)?,
        enhanced_rtmp: enhanced_rtmp(request, &plan)?,
        tls: tls(request, &plan)?,
        ..plan
    })
}

fn media(request: &Request, plan: &RunPlan) -> Result<Option<MediaPlan>, PlanError> {
    let origins = &request.origins;
    let (source, setting) = match (&request.media, request.bitrate) {
        (Some(_), Some(_)) => {
            let text = format!(
                "{} and {} contradict each other: a file has its own rate; drop one of them",
                origins.name(Setting::MEDIA),
                origins.name(Setting::BITRATE)
            );
            return Err(origins.refusal(&[Setting::BITRATE, Setting::MEDIA], text));
        }
        (Some(file), None) => (MediaSource::File(file.clone()), Setting::MEDIA),
        (None, Some(rate)) => (MediaSource::BitsPerSecond(rate.bits_per_second), Setting::BITRATE),
        (None, None) if request.media_clients.is_some() => {
            let text = format!(
                "{} is the part of the publishers that send audio and video, and none are given; add {} or {}",
                origins.name(Setting::MEDIA_CLIENTS),
                origins.name(Setting::MEDIA),
                origins.name(Setting::BITRATE)
            );
            return Err(origins.refusal(&[Setting::MEDIA_CLIENTS], text));
        }
        (None, None) => return Ok(None),
    };
    let publishers = || plan.populations.iter().filter(|population| population.until == Until::Publish);
    let (lacks, remedy) = if publishers().next().is_none() {
        ("there are none", origins.written(Setting::UNTIL, Until::Publish))
    } else if publishers().all(|population| population.hold == Hold::ForNs(0)) {
        ("none of them stays", origins.written(Setting::HOLD, "30s"))
    } else {
        let Percent(clients_percent) = request.media_clients.unwrap_or(Percent(100));
        return Ok(Some(MediaPlan { source, clients_percent }));
    };
    let text = format!("{} is for publishers, and {lacks}; add {remedy}, or drop it", origins.name(setting));
    Err(origins.refusal(&[setting], text))
}

fn hold_check(request: &Request, plan: &RunPlan) -> Result<Option<u64>, PlanError> {
    let Some(check) = request.hold_check else { return Ok(None) };
    let origins = &request.origins;
    let name = origins.name(Setting::HOLD_CHECK);
    let [least, most] = HOLD_CHECKS;
    if !(least..=most).contains(&check) {
        let text = format!("{name} is a silence of 1s to 32767s, which the kernel counts in seconds; give it 30s");
        return Err(origins.refusal(&[Setting::HOLD_CHECK], text));
    }
    if plan.asked().all(|population| population.hold == Hold::ForNs(0)) {
        let text =
            format!("{name} is about held connections and none are; add {}", origins.written(Setting::HOLD, "5m"));
        return Err(origins.refusal(&[Setting::HOLD_CHECK], text));
    }
    Ok(Some(Nanos::from(check).as_u64()))
}

fn enhanced_rtmp(request: &Request, plan: &RunPlan) -> Result<bool, PlanError> {
    let asked = request.enhanced_rtmp == Some(true);
    if asked && plan.asked().all(|population| population.until == Until::Handshake) {
        let origins = &request.origins;
        let text = format!(
            "{} offers codecs in the command connect, which nobody sends; add {}",
            origins.name(Setting::ENHANCED_RTMP),
            origins.written(Setting::UNTIL, Until::Connect)
        );
        return Err(origins.refusal(&[Setting::ENHANCED_RTMP], text));
    }
    Ok(asked)
}

fn tls(request: &Request, plan: &RunPlan) -> Result<Option<TlsPlan>, PlanError> {
    let (asked, origins) = (&request.tls, &request.origins);
    let refusal = |about: Setting, text: &str| Err(origins.refusal(&[about], text));
    let Some(target) = plan.targets.iter().find(|target| target.tls) else {
        return match asked.is_empty() {
            true => Ok(None),
            false => refusal(
                Setting::TLS,
                "TLS is asked for and no target uses it; write rtmps:// for its target, or drop it",
            ),
        };
    };
    if plan.engine == Engine::Sim {
        let text =
            format!("{} is a target with TLS, which the simulated network does not speak; write rtmp://", target.name);
        return refusal(Setting::TARGETS, &text);
    }
    if asked.insecure == Some(true) && asked.ca.is_some() {
        let text =
            "TLS cannot both check certificates by an authority (ca) and accept any (insecure); drop one of them";
        return refusal(Setting::TLS, text);
    }
    Ok(Some(asked.plan()))
}
