//! The targets and local addresses of all populations: each once in the plan, populations refer to them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::base::{Secret, host_address};
use crate::io::Engine;
use crate::protocol::{ClientProfile, UrlRule};
use crate::run::DEFAULT_APP;
use crate::run::{Target, TargetShare, UrlSplit};

use super::PlanError;
use super::origins::Setting;
use super::request::{PopulationRequest, Request, SourceRange};
use super::safety;
use super::target::{Lookup, Parts, TargetText};

/// What the simulated network is asked to play without a target.
const DEFAULT_SIM_TARGET: &str = "rtmp://serve.sim/live";
/// The highest weight: more would be a typing error.
const MAX_WEIGHT: u32 = 1_000_000;

/// Addresses found so far.
pub(super) struct Addresses<'a> {
    request: &'a Request,
    lookup: Lookup<'a>,
    pub targets: Vec<Target>,
    /// What the targets are called in what the user wrote.
    names: Vec<String>,
    pub sources: Vec<IpAddr>,
}

impl<'a> Addresses<'a> {
    pub(super) fn new(request: &'a Request, lookup: Lookup<'a>) -> Self {
        Self { request, lookup, targets: Vec::new(), names: Vec::new(), sources: Vec::new() }
    }

    /// The addresses of a population's targets: its own, or the run's.
    pub(super) fn targets(&mut self, asked: &PopulationRequest) -> Result<Vec<TargetShare>, PlanError> {
        let request = self.request;
        let (texts, weights, origins) = match asked.targets.as_slice() {
            [] => (&request.targets, &request.weights, &request.origins),
            _ => (&asked.targets, &asked.weights, &asked.origins),
        };
        check_weights(texts, weights)?;
        let mut found: Vec<Vec<u16>> = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            let refused = |error: PlanError| origins.refusal_of_element(Setting::TARGETS, index, error);
            let mut indices = Vec::new();
            for address in text.addresses(self.lookup, request.family).map_err(refused)? {
                let ip = address.ip().to_canonical();
                let allow = match origins.has(Setting::TARGETS) {
                    true => request.origins.written(Setting::ALLOW, ip),
                    false => format!("{} {ip}", Setting::ALLOW.flag),
                };
                safety::check(text, address, &request.allowed, &allow).map_err(refused)?;
                indices.push(self.target(Target::of(text, address)).map_err(refused)?);
            }
            found.push(indices);
        }
        if found.is_empty() {
            found.push(self.default_target()?);
        }
        Ok(shares(&found, weights))
    }

    /// A population's local addresses: its own, or the run's.
    pub(super) fn sources(&mut self, asked: &PopulationRequest) -> Vec<u16> {
        let ranges: &[SourceRange] = match asked.sources.as_slice() {
            [] => &self.request.sources,
            own => own,
        };
        let mut indices = Vec::new();
        for address in ranges.iter().flat_map(|range| range.addresses()) {
            let index = self.sources.iter().position(|known| *known == address).unwrap_or_else(|| {
                self.sources.push(address);
                self.sources.len() - 1
            });
            // More than can be named are refused with their number.
            let index = index.min(usize::from(u16::MAX)) as u16;
            if !indices.contains(&index) {
                indices.push(index);
            }
        }
        indices
    }

    /// What the plan calls the target that a condition names by its URL, if that is one target of it.
    pub(super) fn name_of(&self, text: &str) -> Option<String> {
        let asked: TargetText = text.trim().parse().ok()?;
        let mut named = self.targets.iter().zip(&self.names).filter(|(known, name)| {
            **name == asked.text && have_same_secrets(known, &Target::of(&asked, known.address))
        });
        let (target, _) = named.next()?;
        named.next().is_none().then(|| target.name.clone())
    }

    fn default_target(&mut self) -> Result<Vec<u16>, PlanError> {
        if self.request.engine() == Engine::Sim {
            let text: TargetText = DEFAULT_SIM_TARGET.parse()?;
            let addresses = text.addresses(self.lookup, self.request.family)?;
            return addresses.into_iter().map(|address| self.target(Target::of(&text, address))).collect();
        }
        // The port is known once the sink listens.
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let text: TargetText = "rtmp://127.0.0.1".parse()?;
        Ok(vec![self.target(Target { name: "built-in sink".into(), ..Target::of(&text, address) })?])
    }

    fn target(&mut self, target: Target) -> Result<u16, PlanError> {
        let known = self.targets.iter().zip(&self.names).position(|(known, name)| {
            *name == target.name
                && Target { name: name.clone(), ..known.clone() } == target
                && have_same_secrets(known, &target)
        });
        if let Some(index) = known {
            return Ok(index as u16);
        }
        if self.targets.len() >= usize::from(u16::MAX) {
            return Err(PlanError::new(format!("more than {} target addresses are too many", u16::MAX)));
        }
        // Targets may differ in nothing that is shown; numbers tell their rows in the report apart.
        let alike = |(known, name): &(&Target, &String)| **name == target.name && known.address == target.address;
        let name = match self.targets.iter().zip(&self.names).filter(alike).count() {
            0 => target.name.clone(),
            others => format!("{} ({})", target.name, others + 1),
        };
        self.names.push(target.name.clone());
        self.targets.push(Target { name, ..target });
        Ok(self.targets.len() as u16 - 1)
    }
}

impl Target {
    /// What `text` asks for, at one of its addresses.
    pub fn of(text: &TargetText, address: SocketAddr) -> Self {
        let app = text.app.clone().unwrap_or_else(|| DEFAULT_APP.to_owned());
        let scheme = if text.tls { "rtmps" } else { "rtmp" };
        let host = match host_address(&text.host) {
            // Without its zone, which means something on this machine only.
            Some(IpAddr::V6(address)) => format!("[{address}]"),
            _ => text.host.clone(),
        };
        Self {
            name: text.text.clone(),
            host: text.host.clone(),
            address,
            tls: text.tls,
            tc_url: format!("{scheme}://{host}:{}/{app}", text.port),
            splits: splits(text, &app),
            path: Some(text.path.clone()),
            app,
            app_query: text.app_query.clone().map(Secret::new),
            stream: text.stream.clone(),
        }
    }
}

/// What clients find in a URL that find something else than FFmpeg does.
fn splits(text: &TargetText, app: &str) -> Vec<UrlSplit> {
    let mut splits: Vec<UrlSplit> = Vec::new();
    let path = text.path.reveal().map_or("", String::as_str);
    let as_ffmpeg = UrlRule::Ffmpeg.split(path);
    for client in ClientProfile::ALL.into_iter().filter(|client| client.session().is_some()) {
        if client.url_rule().split(path) == as_ffmpeg {
            continue;
        }
        let Parts { app: found, app_query, stream } = Parts::of(path, client.url_rule());
        let split = UrlSplit {
            clients: vec![client],
            app: found.unwrap_or(app).to_owned(),
            app_query: app_query.map(|query| Secret::new(query.to_owned())),
            stream: stream.and_then(|stream| stream.parse().ok()),
        };
        let same = |known: &&mut UrlSplit| known.clients[0].url_rule().split(path) == client.url_rule().split(path);
        match splits.iter_mut().find(same) {
            Some(known) => known.clients.push(client),
            None => splits.push(split),
        }
    }
    splits
}

/// Secrets are equal to all others of their kind, and so are keys in the names of streams.
fn have_same_secrets(known: &Target, target: &Target) -> bool {
    let query = |target: &Target| target.app_query.as_ref().and_then(Secret::reveal).cloned();
    let path = |target: &Target| target.path.as_ref().and_then(Secret::reveal).cloned();
    let same_stream = match (&known.stream, &target.stream) {
        (Some(known), Some(stream)) => known.is(stream),
        (known, stream) => known.is_none() == stream.is_none(),
    };
    query(known) == query(target) && path(known) == path(target) && same_stream
}

fn check_weights(targets: &[TargetText], weights: &[u32]) -> Result<(), PlanError> {
    if !weights.is_empty() && weights.len() != targets.len() {
        return Err(PlanError::new(format!(
            "{} weights for {} targets; give one for each target, in their order",
            weights.len(),
            targets.len()
        )));
    }
    match weights.iter().find(|weight| !(1..=MAX_WEIGHT).contains(*weight)) {
        Some(weight) => {
            Err(PlanError::new(format!("{weight} is not a weight: give a whole number from 1 to {MAX_WEIGHT}")))
        }
        None => Ok(()),
    }
}

/// The part of each address. Without weights all addresses are equal; with them each name has its weight, whatever the
/// number of its addresses.
fn shares(found: &[Vec<u16>], weights: &[u32]) -> Vec<TargetShare> {
    let equal = weights.is_empty()
        || found.iter().all(|addresses| addresses.len() == 1) && weights.iter().all(|weight| *weight == weights[0]);
    let common = found.iter().map(|addresses| addresses.len() as u64).fold(1, lcm);
    let mut shares: Vec<TargetShare> = Vec::new();
    for (index, addresses) in found.iter().enumerate() {
        let weight = match weights.get(index) {
            Some(weight) if !equal => u64::from(*weight) * (common / addresses.len() as u64).max(1),
            _ => 1,
        };
        for &target in addresses {
            let weight = u32::try_from(weight).unwrap_or(u32::MAX / 2);
            match shares.iter_mut().find(|share| share.target == target) {
                // The same address under two names has one row and both parts.
                Some(share) if !weights.is_empty() => share.weight = share.weight.saturating_add(weight),
                Some(_) => {}
                None => shares.push(TargetShare { target, weight }),
            }
        }
    }
    shares
}

/// The least common multiple; numbers of addresses that have none of reasonable size count as one.
fn lcm(a: u64, b: u64) -> u64 {
    let gcd = |mut a: u64, mut b: u64| {
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    match a / gcd(a, b) * b {
        reasonable @ ..=1_000 => reasonable,
        _ => a,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(found: &[Vec<u16>], weights: &[u32]) -> Vec<(u16, u32)> {
        shares(found, weights).iter().map(|share| (share.target, share.weight)).collect()
    }

    #[test]
    fn a_name_has_its_weight_whatever_the_number_of_its_addresses() {
        assert_eq!(
            weights(&[vec![0], vec![1, 2]], &[]),
            [(0, 1), (1, 1), (2, 1)],
            "without weights addresses are equal"
        );
        assert_eq!(weights(&[vec![0], vec![1, 2]], &[1, 1]), [(0, 2), (1, 1), (2, 1)]);
        assert_eq!(weights(&[vec![0], vec![1]], &[3, 1]), [(0, 3), (1, 1)]);
        assert_eq!(weights(&[vec![0, 1, 2], vec![3, 4]], &[1, 3]), [(0, 2), (1, 2), (2, 2), (3, 9), (4, 9)]);
    }

    #[test]
    fn weights_that_are_equal_are_none() {
        assert_eq!(weights(&[vec![0], vec![1]], &[7, 7]), [(0, 1), (1, 1)]);
        assert_eq!(weights(&[vec![0, 1], vec![2]], &[7, 7]), [(0, 7), (1, 7), (2, 14)]);
    }

    #[test]
    fn an_address_under_two_names_is_one_target() {
        assert_eq!(weights(&[vec![0, 1], vec![1]], &[]), [(0, 1), (1, 1)], "in equal parts once");
        assert_eq!(weights(&[vec![0], vec![1], vec![0]], &[2, 1, 3]), [(0, 5), (1, 1)], "with both weights");
    }

    #[test]
    fn parts_that_have_no_common_size_stay_as_they_are() {
        let many = |count: u16| (0..count).collect::<Vec<_>>();
        // 31 x 37 is beyond what a cycle of turns should be.
        let found = [many(31), (31..68).collect()];
        let parts = weights(&found, &[1, 2]);
        assert_eq!(parts.len(), 68);
        assert!(parts.iter().all(|(_, weight)| *weight > 0));
        assert_eq!(lcm(31, 37), 31, "not of reasonable size");
        assert_eq!((lcm(4, 6), lcm(1, 1), lcm(1_000, 8)), (12, 1, 1_000));
    }

    #[test]
    fn sources_of_several_populations_are_each_once_in_the_plan() {
        let request = Request { sources: vec!["10.1.0.1-10.1.0.2".parse().unwrap()], ..Request::default() };
        let nobody = |_: &str, _: u16| -> std::io::Result<Vec<SocketAddr>> { Ok(Vec::new()) };
        let mut addresses = Addresses::new(&request, &nobody);
        let own = PopulationRequest {
            sources: ["10.1.0.2", "10.1.0.5-10.1.0.6", "10.1.0.5"].map(|text| text.parse().unwrap()).into(),
            ..PopulationRequest::default()
        };
        assert_eq!(addresses.sources(&PopulationRequest::default()), [0, 1]);
        assert_eq!(addresses.sources(&own), [1, 2, 3]);
        assert_eq!(addresses.sources.len(), 4);
    }

    #[test]
    fn without_a_target_the_engine_chooses() {
        let lookup = |host: &str, port: u16| -> std::io::Result<Vec<SocketAddr>> {
            assert_eq!((host, port), ("serve.sim", 1935));
            Ok(vec!["10.0.0.1:1935".parse().unwrap()])
        };
        for (engine, name) in
            [(Engine::Sim, DEFAULT_SIM_TARGET), (Engine::IoUring, "built-in sink"), (Engine::Epoll, "built-in sink")]
        {
            let request = Request { engine: Some(engine), ..Request::default() };
            let mut addresses = Addresses::new(&request, &lookup);
            let shares = addresses.targets(&PopulationRequest::default()).unwrap();
            assert_eq!((shares.len(), addresses.targets[0].name.as_str()), (1, name));
        }
    }

    #[test]
    fn targets_that_differ_in_secrets_are_different() {
        let texts = ["rtmp://h.sim/live/one", "rtmp://h.sim/live/two?t=1", "rtmp://h.sim/live/two?t=2"];
        let others = ["rtmp://h.sim/live?a", "rtmp://h.sim/live?b"];
        let request = Request::default();
        let lookup =
            |_: &str, _: u16| -> std::io::Result<Vec<SocketAddr>> { Ok(vec!["10.0.0.1:1935".parse().unwrap()]) };
        let mut addresses = Addresses::new(&request, &lookup);
        let all: Vec<TargetText> =
            texts.into_iter().chain(others).chain(texts).map(|text| text.parse().unwrap()).collect();
        let own = PopulationRequest { targets: all, ..PopulationRequest::default() };
        assert_eq!(addresses.targets(&own).unwrap().len(), 5, "and equal ones are one");
        let names: Vec<_> = addresses.targets.iter().map(|target| target.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "rtmp://h.sim/live/***",
                "rtmp://h.sim/live/***?***",
                "rtmp://h.sim/live/***?*** (2)",
                "rtmp://h.sim/live?***",
                "rtmp://h.sim/live?*** (2)"
            ]
        );
    }

    #[test]
    fn weights_are_one_for_each_target() {
        let targets: Vec<TargetText> = ["10.0.0.1:1", "10.0.0.2:1"].map(|text| text.parse().unwrap()).into();
        let checked = |weights: &[u32]| check_weights(&targets, weights).map_err(|error| error.to_string());
        assert_eq!(checked(&[]), Ok(()));
        assert_eq!(checked(&[1, MAX_WEIGHT]), Ok(()));
        for (weights, cause) in [
            (&[1][..], "1 weights for 2"),
            (&[1, 2, 3], "3 weights for 2"),
            (&[1, 0], "0 is not"),
            (&[1_000_001, 1], "1000001"),
        ] {
            let refused = checked(weights).unwrap_err();
            assert!(refused.contains(cause), "{refused}");
        }
    }
}
