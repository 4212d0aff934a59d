//! Lists of CPUs as people and the kernel write them.

use std::fmt;
use std::str::FromStr;

/// CPUs in the order in which workers take them, each once: `2-15,17`. The grammar is that of `taskset -c` and of the
/// kernel's own lists (Documentation/admin-guide/kernel-parameters.rst, "cpu lists"), without strides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuList(Vec<u32>);

/// Why a text is no list of CPUs, or not one for this process: cause and remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CpuListError(String);

/// Linux numbers at most this many CPUs (CONFIG_NR_CPUS_RANGE_END of x86-64).
const MOST_CPUS: u32 = 8_192;

impl CpuList {
    /// The CPUs, in order.
    pub fn as_slice(&self) -> &[u32] {
        &self.0
    }

    /// Every CPU is one of `allowed`, this process's cpuset.
    ///
    /// # Errors
    /// Names the first CPU that is not, and the cpuset.
    pub fn check_within(&self, allowed: &[u32]) -> Result<(), CpuListError> {
        match self.0.iter().find(|cpu| !allowed.contains(cpu)) {
            None => Ok(()),
            Some(cpu) => Err(CpuListError(format!(
                "CPU {cpu} is not in this process's cpuset, which is {}; give CPUs of it, or start the process with a \
                 larger one (taskset -c, cpuset.cpus of the cgroup)",
                Self(allowed.to_vec())
            ))),
        }
    }
}

impl From<Vec<u32>> for CpuList {
    fn from(cpus: Vec<u32>) -> Self {
        Self(cpus)
    }
}

impl FromStr for CpuList {
    type Err = CpuListError;

    fn from_str(text: &str) -> Result<Self, CpuListError> {
        if text.trim().is_empty() {
            return Err(CpuListError("the list of CPUs is empty; write numbers and ranges, such as 2-15,17".into()));
        }
        let malformed = || {
            CpuListError(format!(
                "'{text}' is not a list of CPUs; write numbers and ranges that ascend, such as 2-15,17"
            ))
        };
        let number = |text: &str| text.trim().parse::<u32>().map_err(|_| malformed());
        let mut cpus = Vec::new();
        for range in text.split(',') {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(malformed());
            }
            if last >= MOST_CPUS {
                return Err(CpuListError(format!(
                    "no Linux has a CPU {last}; the last possible one is {}",
                    MOST_CPUS - 1
                )));
            }
            for cpu in first..=last {
                if cpus.contains(&cpu) {
                    return Err(CpuListError(format!(
                        "CPU {cpu} is given twice in '{text}'; give each once: more workers than CPUs go round"
                    )));
                }
                cpus.push(cpu);
            }
        }
        Ok(Self(cpus))
    }
}

/// Runs of ascending numbers as ranges.
impl fmt::Display for CpuList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("empty");
        }
        for (index, run) in self.0.chunk_by(|cpu, next| cpu + 1 == *next).enumerate() {
            let comma = if index > 0 { "," } else { "" };
            match run {
                [only] => write!(f, "{comma}{only}")?,
                [first, .., last] => write!(f, "{comma}{first}-{last}")?,
                [] => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        text.parse::<CpuList>().unwrap_err().to_string()
    }

    #[test]
    fn a_list_keeps_its_order() {
        for (text, cpus, shown) in [
            ("3", vec![3], "3"),
            ("2-5,17", vec![2, 3, 4, 5, 17], "2-5,17"),
            ("8,0-1", vec![8, 0, 1], "8,0-1"),
            ("3,2,1", vec![3, 2, 1], "3,2,1"),
            (" 4 , 5-5\n", vec![4, 5], "4-5"),
        ] {
            let list: CpuList = text.parse().unwrap();
            assert_eq!((list.as_slice(), list.to_string()), (cpus.as_slice(), shown.to_owned()));
            assert_eq!(list.to_string().parse(), Ok(list));
        }
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for text in ["x", "1,", ",1", "1-", "-1", "1--2", "5-2", "1;2", "0x1", "1.5", "+1-x", "4294967296"] {
            assert!(refused(text).contains("is not a list of CPUs"), "{text}: {}", refused(text));
        }
        for text in ["", " ", "\n"] {
            assert!(refused(text).contains("is empty"));
        }
        assert!(refused("0-4294967295").contains("the last possible one is 8191"));
        insta::assert_snapshot!(refused("2-5,4"), @"CPU 4 is given twice in '2-5,4'; give each once: more workers than CPUs go round");
    }

    #[test]
    fn the_cpuset_is_named() {
        let list: CpuList = "1-2".parse().unwrap();
        assert_eq!(list.check_within(&[0, 1, 2]), Ok(()));
        insta::assert_snapshot!(list.check_within(&[0, 1, 4]).unwrap_err(), @"CPU 2 is not in this process's cpuset, which is 0-1,4; give CPUs of it, or start the process with a larger one (taskset -c, cpuset.cpus of the cgroup)");
        assert!(list.check_within(&[]).unwrap_err().to_string().contains("which is empty"));
    }
}
