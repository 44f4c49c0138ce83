//! A listener whose name changes, since others come and go, keeps its socket as long as its address stays.

use harness::{Echo, Kind, Load, Target};

#[tokio::test]
async fn a_listener_stays_when_the_one_before_it_is_removed() {
    let (echo, script, again) = Echo::new(Kind::Tcp).start_script();
    let (first, second) = (echo.place().address(6789), echo.place().address(6790));
    let mut server = echo.option("--bind", format!("tcp://{second}")).start().await;
    let load = Load::on(&Target::tcp(second));
    // Only the second is left, and it is the first now.
    script.write(&again.replace(&first.to_string(), &second.to_string()));
    server.restart().await.ended().await;
    load.stop().await.assert_clean(1);
    assert!(Target::tcp(first).connect().await.is_err(), "nobody listens there any more");
    Target::tcp(second).visit(100).await.expect("it serves");
}
