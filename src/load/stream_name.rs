//! stub
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StreamName(String);
pub struct NameValues<'a> {
    pub id: u64,
    pub slot: u32,
    pub worker: u32,
    pub source: &'a str,
    pub key: &'a str,
}
impl StreamName {
    pub const MAX_LEN: usize = 255;
    pub fn write(&self, _: &NameValues<'_>, _: &mut [u8]) -> usize {
        0
    }
}
impl std::str::FromStr for StreamName {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        Ok(Self(s.into()))
    }
}
