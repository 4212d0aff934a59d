//! The kernel's TCP counters.

/// Counters in the form of `/proc/net/snmp` and `/proc/net/netstat`: table, name and value of each.
///
/// A table is two lines with the same prefix: the names, then the values. Lines of another form and values that are no
/// numbers are left out.
pub fn counters(text: &str) -> impl Iterator<Item = (&str, &str, u64)> {
    let lines = text.lines().zip(text.lines().skip(1));
    let tables = lines.filter_map(|(names, values)| {
        let ((table, names), (same, values)) = (names.split_once(':')?, values.split_once(':')?);
        (table == same).then_some((table, names, values))
    });
    tables.flat_map(|(table, names, values)| {
        let pairs = names.split_whitespace().zip(values.split_whitespace());
        pairs.filter_map(move |(name, value)| Some((table, name, value.parse().ok()?)))
    })
}

/// What listening sockets of a network namespace dropped, since it exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ListenCounters {
    /// The accept queue was full.
    pub overflows: u64,
    /// All that was dropped, the former included.
    pub drops: u64,
}

impl ListenCounters {
    /// The counters in a text like `/proc/net/netstat`; `None` if it lacks them.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let of = |wanted| {
            counters(text).find_map(|(table, name, value)| ((table, name) == ("TcpExt", wanted)).then_some(value))
        };
        Some(Self { overflows: of("ListenOverflows")?, drops: of("ListenDrops")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_paired() {
        let text = "TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 0 4 7\nIpExt: InNoRoutes\nIpExt: 1\n";
        assert_eq!(counters(text).count(), 4);
        assert_eq!(ListenCounters::parse(text), Some(ListenCounters { overflows: 4, drops: 7 }));
    }

    #[test]
    fn damaged_tables_have_no_counters() {
        for text in ["", "TcpExt: ListenDrops\nTcpExt: many\n", "TcpExt: ListenDrops\n", "nonsense\n"] {
            assert_eq!(ListenCounters::parse(text), None, "{text}");
        }
    }
}
