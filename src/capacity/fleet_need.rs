//! From a fleet that has lost its connections to the rate at which a target must take it back.

use crate::base::{Nanos, Rate};

use crate::capacity::error::CapacityError;
use crate::capacity::request::FleetRequest;
use crate::capacity::result::FleetNeed;

/// The need of a fleet: all of it is back in time only if what is left after its first wait is enough to serve it.
///
/// Every rule has its clients try again at the same time (OBS after 2 s, nginx-rtmp's relay after 3 s), so the whole
/// fleet arrives at once and is served one after the other.
///
/// # Errors
/// If the clients wait for longer than the fleet may take.
pub fn need_of(fleet: FleetRequest) -> Result<(Rate, FleetNeed), CapacityError> {
    let FleetRequest { clients, recover_in, reconnect } = fleet;
    let wait = reconnect.first_delay();
    let left = recover_in.saturating_sub(wait);
    if left == Nanos::ZERO {
        return Err(CapacityError::Usage(format!(
            "clients that come back by the rule {reconnect} wait {wait} before they try again; give --recover-in more than \
             that"
        )));
    }
    let per_s = f64::from(clients) / left.as_secs_f64();
    let need = Rate::per_second(per_s).map_err(|error| CapacityError::Usage(error.to_string()))?;
    let explained = FleetNeed {
        clients,
        recover_in_s: recover_in.as_secs_f64(),
        reconnect: reconnect.to_string(),
        first_wave_per_s: f64::from(clients),
    };
    Ok((need, explained))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Reconnect;

    #[test]
    fn a_fleet_is_to_be_served_in_the_time_after_its_first_wait() {
        let fleet = |seconds| FleetRequest {
            clients: 20_000,
            recover_in: Nanos::from_secs(seconds),
            reconnect: Reconnect::Obs,
        };
        let (need, explained) = need_of(fleet(30)).unwrap();
        assert_eq!(need.as_per_second().round(), 714.0);
        assert_eq!((explained.clients, explained.reconnect.as_str()), (20_000, "obs"));
        assert!(matches!(need_of(fleet(2)), Err(CapacityError::Usage(_))));
    }
}
