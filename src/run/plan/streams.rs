//! What clients connect to and how their streams are called: the population's words, or what they find in the target's URL.

use super::{Population, RunPlan, Target, UrlSplit};
use crate::base::{REDACTED, Secret};
use crate::load::{AppName, StreamName};
use crate::measure::Until;
use crate::protocol::ClientProfile;

/// The name of streams that nobody names.
pub const DEFAULT_STREAM: &str = "shakedown-{id}";

impl Population {
    /// What a client connects to at a target, with its query: what the population says, or else what the client finds in
    /// the target's URL.
    pub(in crate::run) fn app_at(&self, target: &Target, client: ClientProfile) -> String {
        if let Some(app) = &self.app {
            return app.reveal().to_owned();
        }
        target.app_for(client)
    }

    /// What is shown of it.
    pub fn shown_app_at(&self, target: &Target, client: ClientProfile) -> String {
        if let Some(app) = &self.app {
            return app.to_string();
        }
        let split = target.split_by(client);
        let (app, query) = split.map_or((&target.app, &target.app_query), |split| (&split.app, &split.app_query));
        if query.is_some() { format!("{app}?{REDACTED}") } else { app.clone() }
    }

    /// The pattern of a client's stream names at a target: the population's, or else what the client finds in the
    /// target's URL.
    pub fn stream_at(&self, target: &Target, client: ClientProfile) -> StreamName {
        let named = self.stream.clone().or_else(|| self.stream_in_url(target, client));
        named.unwrap_or_else(|| DEFAULT_STREAM.parse().expect("it is a name"))
    }

    /// The stream that a client finds in the target's URL: behind the population's application, if the URL begins with
    /// that one.
    pub fn stream_in_url(&self, target: &Target, client: ClientProfile) -> Option<StreamName> {
        if let Some(rest) = self.app.as_ref().and_then(|app| target.behind(app)) {
            return rest.parse().ok();
        }
        target.stream_for(client).cloned()
    }

    /// The patterns of its streams' names, each once; none where attempts end before any stream.
    pub fn streams(&self, plan: &RunPlan) -> Vec<StreamName> {
        let mut streams: Vec<StreamName> = Vec::new();
        if self.until < Until::Publish {
            return streams;
        }
        for (target, client) in self.pairs(&plan.targets) {
            let stream = self.stream_at(target, client);
            if !streams.contains(&stream) {
                streams.push(stream);
            }
        }
        streams
    }

    /// What its clients connect to, each once, as it is shown; none where attempts end with the handshake.
    pub fn apps(&self, plan: &RunPlan) -> Vec<String> {
        let mut apps: Vec<String> = Vec::new();
        if self.until == Until::Handshake {
            return apps;
        }
        for (target, client) in self.pairs(&plan.targets) {
            let app = self.shown_app_at(target, client);
            if !apps.contains(&app) {
                apps.push(app);
            }
        }
        apps
    }

    /// Each of its targets with each of its clients.
    pub fn pairs<'a>(&'a self, targets: &'a [Target]) -> impl Iterator<Item = (&'a Target, ClientProfile)> {
        let clients = move || self.clients.iter().map(|share| share.client.profile);
        let targets = self.targets.iter().map(move |share| &targets[usize::from(share.target)]);
        targets.flat_map(move |target| clients().map(move |client| (target, client)))
    }
}

impl Target {
    /// What follows an application in the URL, if that begins with it; empty if nothing does.
    pub fn behind(&self, app: &AppName) -> Option<&str> {
        let rest = self.path.as_ref()?.reveal()?.strip_prefix(app.reveal())?;
        (rest.is_empty() || rest.starts_with('/')).then(|| rest.trim_start_matches('/'))
    }

    /// The application that this client finds in the URL, with its query.
    pub fn app_for(&self, client: ClientProfile) -> String {
        let split = self.split_by(client);
        let (app, query) = split.map_or((&self.app, &self.app_query), |split| (&split.app, &split.app_query));
        let query = query.as_ref().and_then(Secret::reveal).map_or("", String::as_str);
        format!("{app}{query}")
    }

    /// The stream that this client finds in the URL.
    pub fn stream_for(&self, client: ClientProfile) -> Option<&StreamName> {
        self.split_by(client).map_or(self.stream.as_ref(), |split| split.stream.as_ref())
    }

    /// The URL of an application there.
    pub fn tc_url_of(&self, app: &str) -> String {
        format!("{}{app}", self.tc_url.strip_suffix(&self.app).unwrap_or(&self.tc_url))
    }

    /// What this client finds in the URL, where it is not what is said of the target itself.
    fn split_by(&self, client: ClientProfile) -> Option<&UrlSplit> {
        self.splits.iter().find(|split| split.clients.contains(&client))
    }
}
