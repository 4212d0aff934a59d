//! When a plan's held connections are released.

use super::plan::{Hold, RunPlan, Until};

impl RunPlan {
    /// Connections are held until every worker has drained, then released by an order.
    pub(super) fn releases_on_order(&self) -> bool {
        let for_ever = || self.populations.iter().any(|population| population.hold == Hold::Forever);
        !self.drain && (self.feeds_players() || for_ever())
    }

    /// Some attempts play, maybe what others publish: streams go on as long as a player still waits for its first frame.
    pub(super) fn feeds_players(&self) -> bool {
        self.populations.iter().any(|population| population.until == Until::Play)
    }
}
