//! What the tools of operators say: openssl, curl, nc, promtool. `.ci/run` installs them.

mod harness;

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Read, Write},
    process::{Child, Command, Output, Stdio},
};

use harness::{Authority, DEADLINE, Echo, Exit, Kind, Server, Signal, certificates::SERVER_NAME, example};

/// A tool that is talked to. Dropped, it is killed.
struct Tool(Child);

impl Tool {
    fn start<A: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = A>) -> Self {
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        Self(child.unwrap_or_else(|error| panic!("{program}: {error}")))
    }

    /// Sends a line; returns the next one that comes.
    fn exchange(&mut self, line: &str) -> String {
        writeln!(self.0.stdin.as_mut().expect("open"), "{line}").expect("the tool reads");
        let mut answer = String::new();
        BufReader::new(self.0.stdout.as_mut().expect("open")).read_line(&mut answer).expect("text");
        answer
    }

    /// Closes its input, and returns what it said on standard error by its end.
    fn finish(mut self) -> (bool, String) {
        drop(self.0.stdin.take());
        let mut said = String::new();
        self.0.stderr.take().expect("open").read_to_string(&mut said).expect("text");
        (self.0.wait().expect("it ends").success(), said)
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        // Where it is over already there is nothing to do.
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// Runs a tool to its end, off the runtime that the server's log is read on.
async fn run(program: &'static str, arguments: &[&str]) -> Output {
    let arguments: Vec<String> = arguments.iter().copied().map(Into::into).collect();
    let running = tokio::task::spawn_blocking(move || {
        Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|e| panic!("{program}: {e}"))
    });
    tokio::time::timeout(DEADLINE, running).await.expect("it ends").expect("it runs")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The arguments of an `openssl s_client` that trusts the server.
fn s_client(server: &Server, more: &[&str]) -> Vec<String> {
    let ca = server.place().path("ca.crt");
    std::fs::write(&ca, server.authority().pem()).expect("a file of ours");
    let address = server.place().address(6789).to_string();
    let ca = ca.into_os_string().into_string().expect("a path of ours");
    [
        "s_client",
        "-quiet",
        "-verify_return_error",
        "-servername",
        SERVER_NAME,
        "-verify_hostname",
        SERVER_NAME,
    ]
    .into_iter()
    .chain(["-connect", &address, "-CAfile", &ca])
    .chain(more.iter().copied())
    .map(Into::into)
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs openssl; run by .ci/run"]
async fn openssl_speaks_both_versions_of_tls() {
    let server = Echo::new(Kind::Tls).start().await;
    for version in ["-tls1_2", "-tls1_3"] {
        let mut client = Tool::start("openssl", s_client(&server, &[version]));
        assert_eq!(client.exchange("through the gate"), "through the gate\n", "{version}");
    }
    server
        .metrics_when("both handshakes are counted", |metrics| {
            ["TLSv1.2", "TLSv1.3"]
                .iter()
                .all(|version| metrics.sum("portcullis_tls_handshakes_total", &[("version", version)]) == 1.0)
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs openssl; run by .ci/run"]
async fn openssl_is_told_that_tls_1_1_is_too_old() {
    let server = Echo::new(Kind::Tls).start().await;
    // Otherwise openssl itself refuses to offer it.
    let arguments = s_client(&server, &["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"]);
    let (success, said) = Tool::start("openssl", arguments).finish();
    assert!(!success && said.contains(" alert "), "{said}");
    let refused = |reason| [("reason", reason)];
    server
        .metrics_when("it is counted", |metrics| {
            metrics.sum("portcullis_tls_handshake_failures_total", &refused("incompatible")) == 1.0
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs openssl; run by .ci/run"]
async fn openssl_gets_in_with_a_client_certificate_and_not_without() {
    let clients = Authority::new();
    let echo = Echo::new(Kind::Tls);
    let ca = echo.place().path("clients.crt");
    std::fs::write(&ca, clients.pem()).expect("a file of ours");
    let server = echo.option("--client-ca", &ca).start().await;

    let files = clients.client().write(server.place(), "client");
    let path = |path: &std::path::Path| path.to_str().expect("a path of ours").to_owned();
    let (certificate, key) = (path(&files.certificate), path(&files.key));
    for version in ["-tls1_2", "-tls1_3"] {
        let mut client =
            Tool::start("openssl", s_client(&server, &[version, "-cert", &certificate, "-key", &key]));
        assert_eq!(client.exchange("known"), "known\n", "{version}");
        let (success, said) = Tool::start("openssl", s_client(&server, &[version])).finish();
        assert!(!success, "{version}: {said}");
        assert!(
            said.contains("alert certificate required") || said.contains("alert handshake failure"),
            "{said}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nc; run by .ci/run"]
async fn nc_is_echoed_over_tcp_and_unix_paths() {
    for kind in [Kind::Tcp, Kind::Unix] {
        let server = Echo::new(kind).start().await;
        let address = server.place().address(6789);
        let (ip, port) = (address.ip().to_string(), address.port().to_string());
        let path = server.place().path("echo.sock").into_os_string().into_string().expect("a path of ours");
        let arguments = match kind {
            Kind::Unix => vec!["-N", "-U", &path],
            _ => vec!["-N", &ip, &port],
        };
        let mut client = Tool::start("nc", &arguments);
        assert_eq!(client.exchange("hello"), "hello\n", "{kind:?}");
        let (success, said) = client.finish();
        assert!(success, "{kind:?}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs curl; run by .ci/run"]
async fn curl_sees_readiness_before_in_and_after_a_restart() {
    let mut server = Echo::new(Kind::Tcp).start().await;
    let url = format!("http://{}/readyz", server.admin());
    for _ in 0..2 {
        assert_eq!(text(&run("curl", &["-sS", "-w", " %{http_code}", &url]).await), "serving 200");
        server.restart().await;
    }
    let client = server.target().connect().await.expect("a connection");
    let generation = server.serving();
    generation.signal(Signal::TERM);
    server.log().wait_from(0, "draining generation=3", |line| line.contains("draining generation=3")).await;
    assert_eq!(text(&run("curl", &["-sS", "-w", " %{http_code}", &url]).await), "draining 503");
    drop(client);
    assert_eq!(generation.ended().await, Exit::Code(0));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs promtool; run by .ci/run"]
async fn promtool_has_nothing_to_say_about_the_metrics() {
    let mut server = Echo::new(Kind::Tls).start().await;
    let mut held = Vec::new();
    for generation in 1..=3 {
        server.target().visit(1000).await.expect("served");
        let scrape = server.get("/metrics").await.body;
        assert_eq!(scrape.contains("generation=\"1\""), generation > 1, "drainers are shown");
        // Drains until the end of the test.
        held.push(server.target().connect().await.expect("a connection"));
        let said = tokio::task::spawn_blocking(move || {
            let mut promtool = Command::new("promtool")
                .args(["check", "metrics"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("promtool");
            promtool.stdin.take().expect("open").write_all(scrape.as_bytes()).expect("it reads");
            promtool.wait_with_output().expect("it ends")
        })
        .await
        .expect("it runs");
        let complaints = String::from_utf8_lossy(&said.stderr);
        assert!(said.status.success() && complaints.is_empty() && said.stdout.is_empty(), "{complaints}");
        server.restart().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs curl; run by .ci/run"]
async fn curl_is_answered_by_axum_over_http_1_and_2_also_during_a_drain() {
    let echo = Echo::bare().program(example("axum"));
    let address = echo.place().address(8443);
    let server = echo.variable("BIND", format!("tcp://{address}")).start().await;
    let (hello, slow) = (format!("https://{address}/"), format!("https://{address}/slow"));
    for (version, number) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let answer = text(&run("curl", &["-sSk", version, "-w", "%{http_version}", &hello]).await);
        assert!(answer.contains("over TLSv1.3") && answer.ends_with(&format!("\n{number}")), "{answer}");
    }
    let mut slow = Tool::start("curl", ["-sSk", "-v", &slow]);
    let mut said = BufReader::new(slow.0.stderr.take().expect("open"));
    let (mut line, mut all) = (String::new(), String::new());
    // The request is on its way.
    while !line.starts_with("> GET") {
        line.clear();
        assert_ne!(said.read_line(&mut line).expect("text"), 0, "{all}");
        all.push_str(&line);
    }
    let answering = tokio::task::spawn_blocking(move || {
        let mut rest = String::new();
        said.read_to_string(&mut rest).expect("text");
        let mut answer = String::new();
        slow.0.stdout.take().expect("open").read_to_string(&mut answer).expect("text");
        answer
    });
    let ended = server.terminate().await;
    let answer = tokio::time::timeout(DEADLINE, answering).await.expect("it ends").expect("it runs");
    assert!(answer.contains("has not forgotten you"), "{answer:?}");
    assert_eq!(ended, Exit::Code(0));
}
