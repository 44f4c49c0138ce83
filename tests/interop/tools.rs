//! What the tools of operators say: curl, nc, promtool. `.ci/run` installs them. Those for TLS alone are in `tls.rs`.

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Command, Stdio},
};

use harness::{
    DEADLINE, Echo, Exit, Kind, Signal, program,
    tool::{Tool, run, text},
};

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
    let echo = Echo::bare().program(program("axum"));
    let address = echo.place().address(8443);
    let server = echo.variable("BIND", format!("tcp://{address}")).start().await;
    let (hello, slow) = (format!("https://{address}/"), format!("https://{address}/slow"));
    for (version, number) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let answer = text(&run("curl", &["-sSk", version, "-w", "%{http_version}", &hello]).await);
        assert!(answer.contains("over TLSv1.3") && answer.ends_with(&format!("\n{number}")), "{answer}");
    }
    let mut slow = Tool::start("curl", ["-sSk", "-v", &slow]);
    let mut said = BufReader::new(slow.child.stderr.take().expect("open"));
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
        slow.rest()
    });
    let ended = server.terminate().await;
    let answer = tokio::time::timeout(DEADLINE, answering).await.expect("it ends").expect("it runs");
    assert!(answer.contains("has not forgotten you"), "{answer:?}");
    assert_eq!(ended, Exit::Code(0));
}
