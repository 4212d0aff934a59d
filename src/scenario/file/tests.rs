use super::*;

fn error(text: &str) -> String {
    read(text, Path::new("s.toml")).unwrap_err().to_string()
}

#[test]
fn scratch() {
    for text in [
        "", "  # nothing\n", "a", "a =", "stages = [", "stagez = 1", "[[population]]\nname=\"a\"\nrate = 5", "stages = 5",
        "\nstages = [{ratee = 5, for=\"1s\"}]", "stages = [{rate = 5}]", "stages = [{rate = 5,\n burst = 3, for = \"1s\"}]",
        "stages = [{rate = [5], for = \"1s\"}]", "stages = [{rate = \"x\", for = \"1s\"}]", "stages = [{rate = \"5\", for = \"1\"}]",
        "[population]\nname = \"x\"", "[[population]]\nname=\"a\"\n[[population]]\nname=\"a\"", "[[population]]\n[[population]]\nname=\"a\"",
        "[[population]]\nname=\"a\"\n[[population.stages]]\nrate=5\n",
        "clients = { obz = 3 }", "clients = { obs = 0 }", "clients = \"obs=40,obs\"", "clients = [3]",
        "clients.obs = 4\nclients.vlc = \"x\"",
        "stages = [{ storm = { fleet = 5 }, for = \"1s\" }]", "stages = [{ storm = { fleet = 5, reconnect = \"obz\" }, for = \"1s\" }]",
        "stages = [{ storm = 5, for = \"1s\" }]",
        "arrival = \"poison\"", "arrival = \"poisson\"\nstages = [{ burst = 5 }]", "concurrency = 0",
        "[[threshold]]\nmetric = \"failed\"", "[[threshold]]\nmetric = \"faild\"\nbelow = \"1%\"", "[[threshold]]\nmetric = \"failed\"\nbelow = \"1ms\"",
        "[[threshold]]\nmetric = \"failed\"\nbelow = \"1%\"\nabove = 3", "thresholds = \"failed<1\"",
        "hold = \"1\"", "targets = []", "targets = [\"\"]", "targets = [{ url = \"127.0.0.1:1\", wait = 3 }]", "targets = [{ weight = 3 }]",
        "client_ips = \"10.0.0.0/8\"", "proxy_protocol = \"v3\"", "seed = -1", "seed = 0x1g", "workers = 99999999999999999999999999",
        "name = 1979-05-27T07:32:00Z", "name = \"a\nb\"", "name = \"\"\"a\nb\"\"\"", "stages = [{ rate = 1e3, for = \"1s\", every = \"1s\" }]",
        "stages = [{ rate = 1e3, for = \"10s\"}, {burst = 5, every = \"10s\" }]",
        "stages = [{ rate = 1e3, for = \"10s\"}, {burst = 5, for=\"2s\", every = \"1s\" }]",
        "stages = [{ probe = 1, for = \"10s\", warmup = true}]",
        "stages = [{ concurrency = \"0:0\", for = \"10s\", warmup = true}]",
        "hold = \"1s\"\nname = \"x\"\n\n[[population]]\nname = \"y\"",
        "name = \"a\"\nname = \"b\"", "\u{feff}stagez = 1", "stages = [{ rate = 1, for = \"1s\", name = \"a\"}, { rate = 1, for = \"1s\", name = \"a\"}]",
    ] {
        match read(text, Path::new("s.toml")) { Ok(_) => eprintln!("OK  {text:?}"), Err(error) => eprintln!("{text:?}\n      {error}") }
    }
    let _ = error("");
}
