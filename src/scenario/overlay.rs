//! Flags over a scenario file.

use std::time::Duration;

use crate::base::{DurationText, Rate, RateRange};
use crate::io::Engine;
use crate::run::Until;

use super::PlanError;
use super::origins::{Origins, Setting};
use super::request::{HoldRequest, PopulationRequest, Request, StageLoad, StageRequest, TlsRequest};

impl Request {
    /// This request, of a scenario, with the values that `flags` give.
    ///
    /// What describes clients replaces the same value of every population. `-R`, with `-d`, `-n` and `-w`, takes the
    /// place of the stages of the only population; `-d` alone ends the load after that long. Targets and sources replace
    /// all of the file's. Conditions and allowances are added to the file's. A rehearsal on the simulated network is
    /// without what that network does not have.
    ///
    /// The only population may be without stages then: its load is the request's own (`rate` to `warmup`).
    ///
    /// # Errors
    /// If a flag has nothing in the scenario that it could change.
    pub fn overridden_by(mut self, flags: &Self) -> Result<Self, PlanError> {
        self.override_load(flags)?;
        self.override_clients(flags)?;
        if !flags.targets.is_empty() {
            self.targets.clone_from(&flags.targets);
            self.weights.clone_from(&flags.weights);
            self.origins.overridden(Setting::TARGETS);
            for population in &mut self.populations {
                population.targets.clear();
                population.weights.clear();
            }
        }
        if flags.targets.is_empty() && !flags.weights.is_empty() {
            if self.targets.is_empty() {
                return Err(PlanError::new(
                    "--weights are the parts of targets, and the scenario has none beside its populations; give targets \
                     too, or weights in the file",
                ));
            }
            self.weights.clone_from(&flags.weights);
        }
        if !flags.sources.is_empty() {
            self.sources.clone_from(&flags.sources);
            self.origins.overridden(Setting::SOURCES);
            self.populations.iter_mut().for_each(|population| population.sources.clear());
        }
        replace(&mut self.family, &flags.family, &mut self.origins, Setting::FAMILY);
        self.allowed.extend_from_slice(&flags.allowed);
        self.thresholds.extend_from_slice(&flags.thresholds);
        self.abort_if.extend_from_slice(&flags.abort_if);
        replace(&mut self.engine, &flags.engine, &mut self.origins, Setting::ENGINE);
        if flags.engine == Some(Engine::Sim) {
            // A rehearsal: the simulated network has one worker without a CPU of its own, names that do not change and no TLS.
            self.workers = None;
            self.cpus = None;
            self.resolve_every = None;
            self.tls = TlsRequest::default();
        }
        self.override_sessions(flags);
        replace(&mut self.workers, &flags.workers, &mut self.origins, Setting::WORKERS);
        replace(&mut self.cpus, &flags.cpus, &mut self.origins, Setting::CPUS);
        replace(&mut self.canary, &flags.canary, &mut self.origins, Setting::CANARY);
        replace(&mut self.drain, &flags.drain, &mut self.origins, Setting::DRAIN);
        replace(&mut self.release, &flags.release, &mut self.origins, Setting::RELEASE);
        replace(&mut self.resolve_every, &flags.resolve_every, &mut self.origins, Setting::RESOLVE);
        replace(&mut self.proxy_protocol, &flags.proxy_protocol, &mut self.origins, Setting::PROXY_PROTOCOL);
        replace(&mut self.client_ips, &flags.client_ips, &mut self.origins, Setting::CLIENT_IPS);
        replace(&mut self.seed, &flags.seed, &mut self.origins, Setting::SEED);
        self.share = flags.share.or(self.share);
        self.start_at = flags.start_at.clone().or(self.start_at);
        Ok(self)
    }

    fn override_load(&mut self, flags: &Self) -> Result<(), PlanError> {
        if flags.rate.is_some() {
            let [population] = self.populations.as_mut_slice() else {
                return Err(PlanError::new(format!(
                    "-R replaces the stages of a scenario's only population, and this one has {}: {}; edit their stages \
                     in the file, or write a scenario with one of them",
                    self.populations.len(),
                    self.names()
                )));
            };
            population.stages.clear();
            population.origins.overridden(Setting::STAGES);
        }
        if let [population] = self.populations.as_slice()
            && population.stages.is_empty()
        {
            self.rate = flags.rate;
            self.duration = flags.duration;
            self.attempts = flags.attempts;
            self.warmup = flags.warmup;
            self.arrival = flags.arrival.or(population.arrival);
            self.concurrency = flags.concurrency.or(population.concurrency);
            return Ok(());
        }
        for (flag, given) in [("-n", flags.attempts.is_some()), ("-w", flags.warmup.is_some())] {
            if given {
                return Err(PlanError::new(format!(
                    "{flag} belongs to a load that flags describe, and the scenario's stages describe this one; add -R \
                     to replace them, or use -d to end them earlier"
                )));
            }
        }
        let Some(end) = flags.duration else { return Ok(()) };
        if end.is_zero() {
            return Err(PlanError::new("-d 0s leaves no time for load; give it a length, such as 10s"));
        }
        self.shortened = true;
        self.end_after(end)
    }

    /// Stages are cut at `end`.
    fn end_after(&mut self, end: Duration) -> Result<(), PlanError> {
        for population in &mut self.populations {
            population.end_after(end)?;
        }
        let measured = |population: &PopulationRequest| {
            population.stages.is_empty() || population.stages.iter().any(|stage| !stage.warmup)
        };
        if !self.populations.iter().any(measured) {
            return Err(PlanError::new(format!(
                "-d {} ends the scenario in its warm-up, before anything is measured; give it longer",
                DurationText(end)
            )));
        }
        Ok(())
    }

    fn override_clients(&mut self, flags: &Self) -> Result<(), PlanError> {
        if flags.arrival.is_some() && !self.any_stage(StageLoad::has_a_rate) {
            return Err(PlanError::new(
                "--arrival spaces the arrivals of a rate, and no stage of this scenario has one; drop it",
            ));
        }
        if flags.concurrency.is_some() && !self.any_stage(StageLoad::has_limited_slots) {
            return Err(PlanError::new(
                "-c limits stages with a rate or a burst, and this scenario has none; edit how many clients its stages have",
            ));
        }
        // Who is expected to do something else is hostile: if anyone here is, the others complete.
        let hostile =
            |population: &PopulationRequest| population.clients.iter().any(|client| client.profile.is_hostile());
        let any_hostile = self.populations.iter().any(hostile);
        // Hostile clients break off in the handshake, whatever the others go on to.
        let any_other = flags.clients.is_empty() && !self.populations.iter().all(hostile);
        let any_sessions = flags.until.is_some_and(|until| until >= Until::Reply)
            || flags.until.is_none() && self.populations.iter().any(|p| p.until >= Some(Until::Reply));
        let any_streams = flags.until.is_some_and(|until| until >= Until::Publish)
            || flags.until.is_none() && self.populations.iter().any(|p| p.until >= Some(Until::Publish));
        for population in &mut self.populations {
            if population.any_stage(StageLoad::has_a_rate) {
                replace(&mut population.arrival, &flags.arrival, &mut population.origins, Setting::ARRIVAL);
            }
            if population.any_stage(StageLoad::has_limited_slots) {
                replace(&mut population.concurrency, &flags.concurrency, &mut population.origins, Setting::CONCURRENCY);
            }
            if !any_hostile || hostile(population) {
                replace(&mut population.expect, &flags.expect, &mut population.origins, Setting::EXPECT);
            }
            if !flags.clients.is_empty() {
                population.clients.clone_from(&flags.clients);
                population.origins.overridden(Setting::CLIENTS);
            }
            population.wrong_c2 |= flags.wrong_c2;
            replace(&mut population.mode, &flags.mode, &mut population.origins, Setting::MODE);
            replace(&mut population.digest_at, &flags.digest_at, &mut population.origins, Setting::DIGEST);
            replace(&mut population.verify, &flags.verify, &mut population.origins, Setting::VERIFY);
            if !hostile(population) || !any_other {
                replace(&mut population.until, &flags.until, &mut population.origins, Setting::UNTIL);
            }
            if flags.until.is_some() && population.until < Some(Until::Reply) {
                population.app = None;
            }
            if population.until >= Some(Until::Reply) || !any_sessions {
                replace(&mut population.app, &flags.app, &mut population.origins, Setting::APP);
            }
            if flags.until.is_some() && population.until < Some(Until::Publish) {
                (population.stream, population.stream_keys) = (None, None);
            }
            if population.until >= Some(Until::Publish) || !any_streams {
                replace(&mut population.stream, &flags.stream, &mut population.origins, Setting::STREAM);
                replace(&mut population.stream_keys, &flags.stream_keys, &mut population.origins, Setting::STREAM_KEYS);
            }
            replace(&mut population.hold, &flags.hold, &mut population.origins, Setting::HOLD);
            replace(&mut population.close, &flags.close, &mut population.origins, Setting::CLOSE);
            replace(
                &mut population.connect_timeout,
                &flags.connect_timeout,
                &mut population.origins,
                Setting::CONNECT_TIMEOUT,
            );
            replace(&mut population.timeout, &flags.timeout, &mut population.origins, Setting::TIMEOUT);
        }
        Ok(())
    }

    /// What sessions say and send. What the file has for sessions that flags have done away with is left out.
    fn override_sessions(&mut self, flags: &Self) {
        if flags.until.is_some() {
            let reaches = |until| self.populations.iter().any(|population| population.until >= Some(until));
            let publishes = self.populations.iter().any(|population| population.until == Some(Until::Publish));
            self.enhanced_rtmp = self.enhanced_rtmp.filter(|_| reaches(Until::Reply));
            if !publishes {
                (self.media, self.bitrate, self.media_clients) = (None, None, None);
            }
        }
        if flags.hold.is_some() && !self.populations.iter().any(PopulationRequest::holds) {
            self.hold_check = None;
        }
        let canary = flags.canary.as_ref().or(self.canary.as_ref());
        if !flags.targets.is_empty() && !flags.targets.iter().chain(canary).any(|target| target.tls) {
            self.tls = TlsRequest::default();
        }
        // The media of a file and those of a flag are one or the other.
        if flags.media.is_some() || flags.bitrate.is_some() {
            (self.media, self.bitrate) = (None, None);
        }
        let origins = &mut self.origins;
        replace(&mut self.media, &flags.media, origins, Setting::MEDIA);
        replace(&mut self.bitrate, &flags.bitrate, origins, Setting::BITRATE);
        replace(&mut self.media_clients, &flags.media_clients, origins, Setting::MEDIA_CLIENTS);
        replace(&mut self.hold_check, &flags.hold_check, origins, Setting::HOLD_CHECK);
        replace(&mut self.enhanced_rtmp, &flags.enhanced_rtmp, origins, Setting::ENHANCED_RTMP);
        replace(&mut self.tls.ca, &flags.tls.ca, origins, Setting::TLS);
        replace(&mut self.tls.insecure, &flags.tls.insecure, origins, Setting::TLS);
        replace(&mut self.tls.name, &flags.tls.name, origins, Setting::TLS);
        replace(&mut self.tls.resume, &flags.tls.resume, origins, Setting::TLS);
    }

    fn any_stage(&self, what: fn(StageLoad) -> bool) -> bool {
        self.populations.iter().any(|population| population.any_stage(what))
    }

    fn names(&self) -> String {
        self.populations.iter().map(|population| population.name.as_str()).collect::<Vec<_>>().join(", ")
    }
}

impl PopulationRequest {
    /// One of its stages is like this; those that flags will describe may be.
    fn any_stage(&self, what: fn(StageLoad) -> bool) -> bool {
        self.stages.is_empty() || self.stages.iter().any(|stage| what(stage.load))
    }

    /// It keeps connections; a fleet that comes back does so by itself.
    fn holds(&self) -> bool {
        let storm = |stage: &StageRequest| matches!(stage.load, StageLoad::Storm { .. });
        match self.hold {
            Some(hold) => hold != HoldRequest::For(Duration::ZERO),
            None => self.stages.iter().any(storm),
        }
    }

    /// What comes after `end` is left out, and what lasts longer is cut there.
    fn end_after(&mut self, end: Duration) -> Result<(), PlanError> {
        let mut begin = Duration::ZERO;
        let mut kept = Vec::new();
        for (index, mut stage) in std::mem::take(&mut self.stages).into_iter().enumerate() {
            match stage.every {
                Some(every) if every < end => kept.push((index, stage)),
                Some(_) => {}
                None => {
                    let left = end.saturating_sub(begin);
                    begin = begin.saturating_add(stage.length);
                    if left > Duration::ZERO {
                        stage.cut_to(left)?;
                        kept.push((index, stage));
                    }
                }
            }
        }
        let (indices, stages): (Vec<usize>, Vec<StageRequest>) = kept.into_iter().unzip();
        self.stages = stages;
        self.origins.keep_elements(Setting::STAGES, &indices);
        Ok(())
    }
}

impl StageRequest {
    /// The stage ends after `length` at the latest; a ramp that is cut ends at what it has reached then.
    fn cut_to(&mut self, length: Duration) -> Result<(), PlanError> {
        if length >= self.length {
            return Ok(());
        }
        let done = length.as_secs_f64() / self.length.as_secs_f64();
        match &mut self.load {
            StageLoad::Rate(range) => *range = cut_ramp(*range, done)?,
            StageLoad::Concurrency { from, to } => {
                let reached = f64::from(*from) + (f64::from(*to) - f64::from(*from)) * done;
                let reached = if to > from { reached.floor() } else { reached.ceil() } as u32;
                // Even of a cut ramp from nobody somebody is left.
                *to = if *from == 0 { reached.max(1) } else { reached };
            }
            StageLoad::Burst(_) | StageLoad::Storm { .. } | StageLoad::Probe(_) => {}
        }
        self.length = length;
        Ok(())
    }
}

/// The first part of a ramp, `done` of its length.
fn cut_ramp(range: RateRange, done: f64) -> Result<RateRange, PlanError> {
    if range.is_constant() {
        return Ok(range);
    }
    let (from, to) = (range.from().as_per_second(), range.to().as_per_second());
    Rate::per_second(from + (to - from) * done)
        .and_then(|reached| RateRange::new(range.from(), reached))
        .map_err(|error| PlanError::new(error.to_string()))
}

/// A flag that is given goes before the file.
fn replace<T: Clone>(value: &mut Option<T>, flag: &Option<T>, origins: &mut Origins, setting: Setting) {
    if flag.is_some() {
        value.clone_from(flag);
        origins.overridden(setting);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::super::read;
    use super::*;

    fn scenario(text: &str) -> Request {
        read(text, Path::new("test.toml")).unwrap()
    }

    fn cut(text: &str, seconds: f64) -> Vec<(StageLoad, f64)> {
        let flags = Request { duration: Some(Duration::from_secs_f64(seconds)), ..Request::default() };
        let stages = scenario(text).overridden_by(&flags).unwrap().populations.remove(0).stages;
        stages.into_iter().map(|stage| (stage.load, stage.length.as_secs_f64())).collect()
    }

    fn refused(text: &str, flags: Request) -> String {
        scenario(text).overridden_by(&flags).unwrap_err().to_string()
    }

    const TWO: &str = r#"
        targets = [{ url = "10.0.0.5:1935", weight = 3 }, "10.0.0.6:1935"]
        sources = "10.0.1.1"
        thresholds = ["failed<1%"]
        seed = 3
        [[population]]
        name = "encoders"
        stages = [{ rate = "100/s", for = "10s" }]
        targets = "10.0.0.7:1935"
        clients = { obs = 1 }
        hold = "5s"
        [[population]]
        name = "fleet"
        stages = [{ storm = { fleet = 100, reconnect = "obs" }, for = "30s" }]
        sources = "10.0.1.2"
    "#;

    #[test]
    fn without_flags_a_scenario_is_itself() {
        let file = scenario(TWO);
        let same = file.clone().overridden_by(&Request::default()).unwrap();
        assert_eq!(format!("{same:?}"), format!("{file:?}"));
    }

    #[test]
    fn what_describes_clients_goes_to_every_population_it_can_describe() {
        let flags = Request {
            concurrency: Some(7),
            arrival: Some(crate::load::ArrivalPattern::Poisson),
            clients: vec!["vlc".parse().unwrap()],
            hold: Some("forever".parse().unwrap()),
            timeout: Some(Duration::from_secs(3)),
            ..Request::default()
        };
        let request = scenario(TWO).overridden_by(&flags).unwrap();
        let [encoders, fleet] = request.populations.as_slice() else { panic!("two populations") };
        for population in [encoders, fleet] {
            assert_eq!((&population.clients, population.hold), (&flags.clients, flags.hold));
            assert_eq!((population.timeout, population.connect_timeout), (flags.timeout, None));
        }
        assert_eq!((encoders.concurrency, encoders.arrival), (flags.concurrency, flags.arrival));
        assert_eq!((fleet.concurrency, fleet.arrival), (None, None), "a storm has slots and times of its own");
        assert!(request.clients.is_empty() && request.hold.is_none() && request.concurrency.is_none());
    }

    #[test]
    fn targets_and_sources_replace_all_of_the_file() {
        let flags = Request {
            targets: vec!["127.0.0.1:1935".parse().unwrap()],
            sources: vec!["127.0.0.2".parse().unwrap()],
            thresholds: vec!["rate>5/s".into()],
            seed: Some(crate::base::Seed::new(9)),
            engine: Some(Engine::Sim),
            ..Request::default()
        };
        let request = scenario(TWO).overridden_by(&flags).unwrap();
        assert_eq!((&request.targets, &request.sources), (&flags.targets, &flags.sources));
        assert!(request.weights.is_empty());
        for population in &request.populations {
            assert!(population.targets.is_empty() && population.sources.is_empty(), "{population:?}");
        }
        assert_eq!(request.thresholds, ["failed<1%", "rate>5/s"]);
        assert_eq!((request.seed, request.engine), (flags.seed, Some(Engine::Sim)));
    }

    #[test]
    fn a_rate_replaces_the_stages_of_the_only_population() {
        let flags = Request {
            rate: Some("5k/s".parse().unwrap()),
            attempts: Some(10),
            warmup: Some(Duration::from_secs(1)),
            ..Request::default()
        };
        let one = "stages = [{ rate = 5, for = \"1s\" }]\nclients = \"obs\"";
        let request = scenario(one).overridden_by(&flags).unwrap();
        assert_eq!((request.rate, request.attempts, request.warmup), (flags.rate, flags.attempts, flags.warmup));
        assert!(request.populations[0].stages.is_empty() && !request.populations[0].clients.is_empty());
        let idle = scenario("clients = \"obs\"\nconcurrency = 5").overridden_by(&Request::default()).unwrap();
        assert_eq!((idle.concurrency, idle.rate), (Some(5), None), "a closed loop of five");
        insta::assert_snapshot!(refused(TWO, flags), @"-R replaces the stages of a scenario's only population, and this one has 2: encoders, fleet; edit their stages in the file, or write a scenario with one of them");
    }

    #[test]
    fn flags_with_nothing_to_change_are_refused() {
        let storm = "stages = [{ storm = { fleet = 100, reconnect = \"obs\" }, for = \"30s\" }]";
        let attempts = Request { attempts: Some(5), ..Request::default() };
        insta::assert_snapshot!(refused(TWO, attempts), @"-n belongs to a load that flags describe, and the scenario's stages describe this one; add -R to replace them, or use -d to end them earlier");
        let slots = Request { concurrency: Some(5), ..Request::default() };
        insta::assert_snapshot!(refused(storm, slots), @"-c limits stages with a rate or a burst, and this scenario has none; edit how many clients its stages have");
        let spacing = Request { arrival: Some(crate::load::ArrivalPattern::Poisson), ..Request::default() };
        insta::assert_snapshot!(refused(storm, spacing), @"--arrival spaces the arrivals of a rate, and no stage of this scenario has one; drop it");
        let warm = "stages = [{ rate = 5, for = \"10s\", warmup = true }, { rate = 5, for = \"10s\" }]";
        let short = Request { duration: Some(Duration::from_secs(10)), ..Request::default() };
        insta::assert_snapshot!(refused(warm, short), @"-d 10s ends the scenario in its warm-up, before anything is measured; give it longer");
        let none = Request { duration: Some(Duration::ZERO), ..Request::default() };
        insta::assert_snapshot!(refused(warm, none), @"-d 0s leaves no time for load; give it a length, such as 10s");
    }

    #[test]
    fn a_ramp_that_is_cut_ends_at_what_it_has_reached() {
        let text = "stages = [{ rate = \"0:100/s\", for = \"10s\" }, { rate = \"100:0/s\", for = \"10s\" }]";
        let rate = |text: &str| StageLoad::Rate(text.parse().unwrap());
        assert_eq!(cut(text, 5.0), [(rate("0:50/s"), 5.0)]);
        assert_eq!(cut(text, 10.0), [(rate("0:100/s"), 10.0)]);
        assert_eq!(cut(text, 15.0), [(rate("0:100/s"), 10.0), (rate("100:50/s"), 5.0)]);
        assert_eq!(cut(text, 500.0), [(rate("0:100/s"), 10.0), (rate("100:0/s"), 10.0)]);
        let clients = "stages = [{ concurrency = \"0:100\", for = \"10s\" }]";
        assert_eq!(cut(clients, 0.01), [(StageLoad::Concurrency { from: 0, to: 1 }, 0.01)]);
        assert_eq!(cut(clients, 2.5), [(StageLoad::Concurrency { from: 0, to: 25 }, 2.5)]);
    }

    #[test]
    fn events_after_the_end_are_left_out() {
        let text = "stages = [{ rate = 5, for = \"100s\" }, { burst = 10, every = \"20s\" }]";
        assert_eq!(cut(text, 30.0).len(), 2);
        assert_eq!(cut(text, 20.0).len(), 1);
    }

    proptest! {
        #[test]
        fn no_stage_is_longer_than_asked(lengths in prop::collection::vec(1u64..100_000, 1..6), end_ms in 1u64..400_000) {
            let stages: Vec<String> =
                lengths.iter().map(|ms| format!("{{ rate = \"1:{ms}/s\", for = \"{ms}ms\" }}")).collect();
            let cut = cut(&format!("stages = [{}]", stages.join(", ")), end_ms as f64 / 1e3);
            let total: f64 = cut.iter().map(|(_, length)| length).sum();
            let asked = lengths.iter().sum::<u64>().min(end_ms) as f64 / 1e3;
            prop_assert!((total - asked).abs() < 1e-6, "{total} of {asked}");
        }
    }
}
