use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
};

use ipnet::IpNet;

use super::*;

/// The environment, beside an address to listen on.
fn built(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let bind = [("BIND", "tcp://127.0.0.1:6789")];
    // Of two with one name the later counts.
    Config::builder().environment_from(bind.iter().chain(variables).copied()).build()
}

fn config(variables: &[(&str, &str)]) -> Config {
    built(variables).unwrap()
}

fn uris(config: &Config) -> Vec<String> {
    config.binds().iter().map(ToString::to_string).collect()
}

fn allows(config: &Config, address: &str) -> bool {
    config.allowed_networks().unwrap().contains(address.parse().unwrap())
}

#[test]
fn every_wrong_variable_is_named_with_its_value_and_what_to_write() {
    for (variable, value, says) in [
        ("BIND", "0.0.0.0:80", "write `tcp://0.0.0.0:80`"),
        ("BIND", "udp://0.0.0.0:80", "`tcp://host:port`"),
        ("BIND", "tcp://0.0.0.0:80, tcp://0.0.0.0", "`tcp://0.0.0.0` has no port"),
        ("BIND", " , ", "no URI"),
        ("BIND", "tcp://[::]:80 tcp://[::]:80", "twice"),
        ("ADMIN_BIND", "9100", "`tcp://host:port`"),
        ("ADMIN_BIND", "tcp://127.0.0.1:1,tcp://127.0.0.1:2", "not a number"),
        ("ADMIN_BIND", "tcp://127.0.0.1:6789", "choose another port"),
        ("START_COMMAND", "echo 'unfinished", "close every quote"),
        ("START_COMMAND", " ", "write a program"),
        ("START_COMMAND", "'' argument", "write a program"),
        ("LOG_LEVEL", "loud", "`trace`, `debug`, `info`, `warn` or `error`"),
        ("LOG_LEVEL", "3", "`trace`"),
        ("TLS_VERSION", "TLSv1_1", "RFC 8996"),
        ("TLS_VERSION", "TLSv1_4", "TLSv1_2 or TLSv1_3"),
        ("TLS_KEY", "key.pem", "`TLS_CERTIFICATE`"),
        ("TLS_CERTIFICATE", "certificate.pem", "`TLS_KEY`"),
        ("CLIENT_TLS_CERTIFICATE_CA", "ca.pem", "`TLS_CERTIFICATE` and `TLS_KEY`"),
        ("VERIFY_CLIENT_TLS_CERTIFICATE", "maybe", "`true` or `false`"),
        ("VERIFY_CLIENT_TLS_CERTIFICATE", " true", "`true` or `false`"),
        ("VERIFY_CLIENT_TLS_CERTIFICATE", "true", "`CLIENT_TLS_CERTIFICATE_CA`"),
        ("CLIENT_TLS_CRL", "clients.crl", "`CLIENT_TLS_CERTIFICATE_CA`"),
        ("ALLOWED_IDENTITIES", "cn=alice", "`CLIENT_TLS_CERTIFICATE_CA`"),
        ("ALLOWED_IDENTITIES", "", "everybody or nobody"),
        ("ALLOWED_IDENTITIES", "cn=alice,bob", "`bob` is no identity rule"),
        ("ALLOWED_IDENTITIES", "cn=alice,", "write cn=NAME"),
        ("ALLOWED_IDENTITIES", "ip=localhost", "no IP address"),
        ("ALLOWED_NETWORKS", "", "everybody or nobody"),
        ("ALLOWED_NETWORKS", "  ", "everybody or nobody"),
        ("ALLOWED_NETWORKS", "10.0.0.0/8,", "remove the comma"),
        ("ALLOWED_NETWORKS", "10.0.0.0/33", "from 0 to 32"),
        ("ALLOWED_NETWORKS", "010.0.0.0/8", "`10.0.0.0/8`"),
        ("ALLOWED_NETWORKS", "::1,localhost", "localhost"),
        ("DRAIN_TIMEOUT", "30", "as in `30s`"),
        ("DRAIN_TIMEOUT", "soon", "as in `30s`"),
        ("DRAIN_TIMEOUT", "-1s", "as in `30s`"),
        ("READY_TIMEOUT", "30 parsecs", "as in `30s`"),
        ("READY_TIMEOUT", "0s", "as in `30s`"),
        ("PROBATION", "a while", "as in `30s`"),
        ("PROBATION", "25h", "longer than 24 hours"),
        ("DRAINING_LIMIT", "-1", "as in `8`"),
        ("TAKEOVER_PATH", "/run/", "names a directory"),
        ("TAKEOVER_PATH", "@control", "abstract"),
    ] {
        let error = built(&[(variable, value)]).expect_err(variable).to_string();
        assert!(error.contains(&format!("the variable `{variable}`")), "{variable}={value}: {error}");
        assert!(error.contains(&format!("`{value}`")), "{variable}={value}: {error}");
        assert!(error.contains(says), "{variable}={value}: {error}");
    }
    for value in ["http", "65536", "-1", "+1", "80 ", "0x50"] {
        let error = Config::builder().environment_from([("PORT", value)]).build().unwrap_err().to_string();
        assert!(error.contains("the variable `PORT`") && error.contains(&format!("`{value}`")), "{error}");
    }
}

#[test]
fn what_is_not_utf_8_is_refused_but_for_paths() {
    let odd = OsStr::from_bytes(b"/run/\xff");
    let base = || [("BIND".to_owned(), OsString::from("tcp://127.0.0.1:6789"))].into_iter();
    for key in key::ALL {
        let built =
            Config::builder().environment_from(base().chain([(key.variable.to_owned(), odd.into())])).build();
        let path = [
            "PID_FILE",
            "LOG_PATH",
            "TLS_KEY",
            "TLS_CERTIFICATE",
            "CLIENT_TLS_CERTIFICATE_CA",
            "CLIENT_TLS_CRL",
        ];
        match built {
            Err(ConfigError::Invalid { origin, what, .. }) => {
                assert!(!path.contains(&key.variable), "{key:?}");
                assert_eq!(origin, Origin::Variable(key.variable));
                assert!(what.contains("not UTF-8"), "{key:?}: {what}");
            }
            // Of the paths, four need another setting. PORT does not count beside BIND.
            built => assert!(path.contains(&key.variable) || key.variable == "PORT", "{key:?}: {built:?}"),
        }
    }
    let config = Config::builder().environment_from(base()).pid_file(odd).build().unwrap();
    assert_eq!(config.pid_file().unwrap().as_os_str(), odd);
}

#[test]
fn the_content_of_a_key_is_never_shown() {
    let key = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n";
    for variable in ["TLS_KEY", "TLS_CERTIFICATE", "CLIENT_TLS_CERTIFICATE_CA", "CLIENT_TLS_CRL"] {
        for content in [key, &key.replace('\n', " "), "c2Vj\ncmV0"] {
            let error = built(&[(variable, content)]).unwrap_err();
            assert!(error.to_string().contains(variable), "{error}");
            for shown in [error.to_string(), format!("{error:?}")] {
                assert!(!shown.contains("c2Vj") && shown.contains("write the file's path"), "{shown}");
            }
        }
    }
    for path in [Setting::from(PathBuf::from(key)), Setting::from(&PathBuf::from(key)), Path::new(key).into()]
    {
        let named = Setting::given_by("--tls-key", Some(path));
        let error = Config::builder().bind("tcp://[::]:0").tls_key(named).build().unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("c2Vj") && shown.contains("`--tls-key`"), "{shown}");
    }
    let builder = Config::builder().bind("tcp://[::]:0").tls_key(key);
    assert!(!format!("{builder:?} {:?}", Setting::<PathBuf>::from(key)).contains("c2Vj"));
    let pem = Config::builder().bind("tcp://[::]:0").tls_pem("certificate", key).build().unwrap();
    assert!(!format!("{pem:?}").contains("c2Vj") && !format!("{pem:?}").contains("99, 50, 86"));
}

#[test]
fn what_is_not_set_has_the_documented_default() {
    let empty: Vec<(&str, &str)> = key::ALL
        .iter()
        .filter(|key| !["BIND", "ALLOWED_NETWORKS", "ALLOWED_IDENTITIES"].contains(&key.variable))
        .map(|key| (key.variable, ""))
        .collect();
    // A variable that is empty is one that is not set.
    for variables in [&[][..], &empty] {
        let config = config(variables);
        assert!(config.start_command().is_none());
        assert_eq!(config.pid_file(), None);
        assert_eq!(config.log_path(), None);
        assert_eq!(config.log_level(), Level::INFO);
        assert!(!config.has_tls() && !config.verifies_clients());
        assert!(config.tls_layer().unwrap().is_none());
        assert!(config.allowed_networks().is_none() && config.allowlist_layer().is_none());
        assert_eq!(config.drain_timeout(), Duration::from_secs(30));
        assert_eq!(config.ready_timeout(), Duration::from_secs(30));
        assert_eq!(config.probation(), Duration::from_secs(5));
        assert_eq!(config.draining_limit(), 8);
        assert_eq!(config.takeover_path(), None);
        assert_eq!(config.admin_bind(), None);
    }
}

#[test]
fn every_variable_is_read() {
    let config = config(&[
        ("BIND", "tcp://[::]:6789,  unix:///run/echo"),
        ("START_COMMAND", "bundle exec 'my server' --port=1"),
        ("PID_FILE", "/run/echo.pid"),
        ("LOG_PATH", "log/echo.log"),
        ("LOG_LEVEL", "WARN"),
        ("DRAIN_TIMEOUT", "1m 30s"),
        ("READY_TIMEOUT", "500ms"),
        ("PROBATION", "0s"),
        ("DRAINING_LIMIT", "20"),
        ("TAKEOVER_PATH", "/run/echo.control"),
        ("ADMIN_BIND", "tcp://127.0.0.1:9100"),
    ]);
    assert_eq!(uris(&config), ["tcp://[::]:6789", "unix:///run/echo"]);
    assert_eq!(config.start_command().unwrap().arguments(), ["bundle", "exec", "my server", "--port=1"]);
    assert_eq!(config.pid_file(), Some(Path::new("/run/echo.pid")));
    assert_eq!(config.log_path(), Some(Path::new("log/echo.log")));
    assert_eq!(config.log_level(), Level::WARN);
    assert_eq!(config.drain_timeout(), Duration::from_secs(90));
    assert_eq!(config.ready_timeout(), Duration::from_millis(500));
    assert_eq!(config.probation(), Duration::ZERO);
    assert_eq!(config.draining_limit(), 20);
    assert_eq!(config.takeover_path(), Some(Path::new("/run/echo.control")));
    assert_eq!(config.admin_bind().unwrap().to_string(), "tcp://127.0.0.1:9100");

    let config = self::config(&[("ALLOWED_NETWORKS", "10.0.0.0/8, ::1")]);
    assert!(allows(&config, "10.1.2.3") && allows(&config, "::1") && !allows(&config, "11.0.0.1"));
    assert!(config.allowlist_layer().is_some());
}

#[test]
fn the_control_path_is_nobody_elses() {
    for variables in [
        [("BIND", "tcp://[::]:1 unix:///run/echo"), ("TAKEOVER_PATH", "/run/echo")],
        [("ADMIN_BIND", "unix:///run/echo"), ("TAKEOVER_PATH", "/run/echo")],
    ] {
        let error = built(&variables).unwrap_err().to_string();
        assert!(error.contains("`TAKEOVER_PATH`") && error.contains("choose another path"), "{error}");
    }
}

#[test]
fn rubys_levels_are_known() {
    for (text, level) in
        [("fatal", Level::ERROR), ("UNKNOWN", Level::ERROR), ("Error", Level::ERROR), ("debug", Level::DEBUG)]
    {
        assert_eq!(config(&[("LOG_LEVEL", text)]).log_level(), level);
    }
}

#[test]
fn the_port_counts_where_there_is_no_address() {
    let build = |variables: &[(&'static str, &'static str)]| {
        Config::builder().environment_from(variables.iter().copied()).build()
    };
    assert_eq!(uris(&build(&[("PORT", "6789")]).unwrap()), ["tcp://0.0.0.0:6789"]);
    assert_eq!(uris(&build(&[("PORT", "1"), ("BIND", "tcp://[::]:2")]).unwrap()), ["tcp://[::]:2"]);
    let error = build(&[("BIND", "")]).unwrap_err();
    assert!(matches!(error, ConfigError::NoAddress), "{error:?}");
    assert!(error.to_string().contains("`BIND`") && error.to_string().contains("`PORT`"));
}

#[test]
fn the_program_wins_over_the_environment() {
    let environment = || {
        Config::builder().environment_from([
            ("BIND", "tcp://127.0.0.1:1"),
            ("PORT", "2"),
            ("LOG_LEVEL", "loud"),
            ("DRAIN_TIMEOUT", "1s"),
            ("ALLOWED_NETWORKS", "10.0.0.0/8"),
        ])
    };
    let config = environment()
        .port(3)
        .log_level(Level::DEBUG)
        .drain_timeout("2s")
        .allowed_networks("::1/128".parse::<IpNet>().unwrap())
        .allowed_networks("192.0.2.0/24,198.51.100.0/24")
        .build()
        .unwrap();
    assert_eq!(uris(&config), ["tcp://0.0.0.0:3"]);
    assert_eq!(config.log_level(), Level::DEBUG);
    assert_eq!(config.drain_timeout(), Duration::from_secs(2));
    assert!(allows(&config, "::1") && allows(&config, "198.51.100.7") && !allows(&config, "10.0.0.1"));

    let typed = "unix:///run/a b,c".parse::<ListenAddr>().unwrap().mode(0o660);
    let config = Config::builder()
        .environment_from([("BIND", "tcp://127.0.0.1:1")])
        .bind(typed.clone())
        .bind("tcp://127.0.0.1:4 tcp://127.0.0.1:0")
        .bind(vec!["tcp://127.0.0.1:0".parse().unwrap()])
        .port(5)
        .build()
        .unwrap();
    assert_eq!(config.binds()[0], typed, "with its options");
    assert_eq!(uris(&config)[1..], ["tcp://127.0.0.1:4", "tcp://127.0.0.1:0", "tcp://127.0.0.1:0"]);
}

#[test]
fn an_error_names_the_option_or_setter_that_gave_the_value() {
    let builder = || Config::builder().bind("tcp://127.0.0.1:0");
    let error =
        builder().allowed_networks(Setting::given_by("--allow", Some("10.0/16"))).build().unwrap_err();
    assert!(error.to_string().contains("the option `--allow`"), "{error}");
    let error = builder().drain_timeout("soon").build().unwrap_err();
    assert!(error.to_string().contains("the setter `drain_timeout`"), "{error}");
    let error = builder().ready_timeout(Duration::ZERO).build().unwrap_err();
    assert!(error.to_string().contains("`0s`"), "{error}");
    let error = builder().allowed_networks(Vec::new()).build().unwrap_err();
    assert!(error.to_string().contains("the setter `allowed_networks`"), "{error}");
    let error = builder().pid_file(Setting::given_by("--pid-file", Some(""))).build().unwrap_err();
    assert!(error.to_string().contains("the option `--pid-file`"), "{error}");
}

#[test]
fn an_option_that_is_not_there_leaves_the_word_to_the_environment() {
    let config = Config::builder()
        .drain_timeout(Setting::given_by("--drain-timeout", None::<String>))
        .bind(Setting::given_by("--bind", None::<ListenAddr>))
        .allowed_networks(Setting::given_by("--allow", None::<String>))
        .environment_from([("DRAIN_TIMEOUT", "7s"), ("PORT", "1"), ("ALLOWED_NETWORKS", "::1")])
        .build()
        .unwrap();
    assert_eq!(config.drain_timeout(), Duration::from_secs(7));
    assert_eq!(uris(&config), ["tcp://0.0.0.0:1"]);
    assert!(allows(&config, "::1"));
}

#[test]
fn networks_and_a_unix_path_exclude_each_other() {
    let error = built(&[("BIND", "tcp://[::]:1,unix:///run/echo"), ("ALLOWED_NETWORKS", "10.0.0.0/8")]);
    let error = error.unwrap_err().to_string();
    for part in ["`ALLOWED_NETWORKS`", "`10.0.0.0/8`", "`unix:///run/echo`"] {
        assert!(error.contains(part), "{error}");
    }
    // The admin's path is another matter: the networks do not apply to it.
    config(&[("ADMIN_BIND", "unix:///run/admin"), ("ALLOWED_NETWORKS", "10.0.0.0/8")]);
}

#[test]
fn a_ca_means_verification_and_forbids_to_deny_it() {
    let with = |variables: &[(&'static str, &'static str)]| {
        let tls = [("TLS_CERTIFICATE", "c.pem"), ("TLS_KEY", "k.pem"), ("TLS_VERSION", "TLSv1_3")];
        built(&tls.iter().chain(variables).copied().collect::<Vec<_>>())
    };
    let ca = ("CLIENT_TLS_CERTIFICATE_CA", "ca.pem");
    assert!(with(&[]).unwrap().has_tls());
    assert!(!with(&[]).unwrap().verifies_clients());
    assert!(with(&[ca]).unwrap().verifies_clients());
    for yes in ["true", "1", "YES", "on"] {
        assert!(with(&[ca, ("VERIFY_CLIENT_TLS_CERTIFICATE", yes)]).unwrap().verifies_clients());
    }
    for no in ["false", "0", "No", "off"] {
        assert!(!with(&[("VERIFY_CLIENT_TLS_CERTIFICATE", no)]).unwrap().verifies_clients());
        let error = with(&[ca, ("VERIFY_CLIENT_TLS_CERTIFICATE", no)]).unwrap_err().to_string();
        for part in ["`VERIFY_CLIENT_TLS_CERTIFICATE`", no, "`CLIENT_TLS_CERTIFICATE_CA`", "`ca.pem`"] {
            assert!(error.contains(part), "{error}");
        }
    }
}

#[test]
fn revocation_lists_and_identities_are_for_clients_of_a_ca() {
    let with = |variables: &[(&'static str, &'static str)]| {
        let tls =
            [("TLS_CERTIFICATE", "c.pem"), ("TLS_KEY", "k.pem"), ("CLIENT_TLS_CERTIFICATE_CA", "ca.pem")];
        built(&tls.iter().chain(variables).copied().collect::<Vec<_>>()).unwrap()
    };
    assert!(with(&[("CLIENT_TLS_CRL", "ca.crl")]).verifies_clients());
    let rules = |config: Config| {
        config.tls.unwrap().identities.unwrap().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let config =
        with(&[("ALLOWED_IDENTITIES", "cn=alice, uri=spiffe://example.org/billing ,DNS=Web.example")]);
    assert_eq!(rules(config), ["cn=alice", "uri=spiffe://example.org/billing", "dns=web.example"]);

    // Each call adds, text or rule; a rule may have a comma.
    let config = Config::builder()
        .bind("tcp://[::]:0")
        .tls_pem("", "")
        .client_tls_certificate_ca("ca.pem")
        .allowed_identities("cn=alice,cn=bob")
        .allowed_identities("cn=Doe, John".parse::<IdentityRule>().unwrap())
        .environment_from([("ALLOWED_IDENTITIES", "cn=mallory")])
        .build()
        .unwrap();
    assert_eq!(rules(config), ["cn=alice", "cn=bob", "cn=Doe, John"]);
    let option = Setting::given_by("--allow-identity", Some("alice"));
    let error = Config::builder().bind("tcp://[::]:0").allowed_identities(option).build().unwrap_err();
    assert!(error.to_string().contains("the option `--allow-identity`"), "{error}");
}

#[test]
fn the_tls_layer_is_made_from_the_files() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name| directory.path().join(name);
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
    std::fs::write(path("certificate"), &certificate).unwrap();
    std::fs::write(path("key"), &key).unwrap();
    let builder = || Config::builder().bind("tcp://[::]:0").client_tls_certificate_ca(path("certificate"));

    let files = builder().tls_certificate(path("certificate")).tls_key(path("key"));
    assert!(files.clone().build().unwrap().tls_layer().unwrap().is_some());
    // Made by the program, whatever the environment says; but not in spite of itself.
    let pem = builder()
        .environment_from([("TLS_CERTIFICATE", "nowhere"), ("TLS_KEY", "nowhere")])
        .tls_pem(certificate.as_str(), key.as_str());
    assert!(pem.build().unwrap().tls_layer().unwrap().is_some());
    let error = files.tls_pem(certificate, key).build().unwrap_err();
    assert!(matches!(error, ConfigError::Conflict { .. }), "{error:?}");
}

#[test]
fn a_tls_file_that_is_wrong_is_told_with_the_setting_that_names_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).into_os_string().into_string().unwrap();
    let pair = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (one, other) = (pair(), pair());
    std::fs::write(path("certificate"), one.cert.pem()).unwrap();
    std::fs::write(path("key"), one.signing_key.serialize_pem()).unwrap();
    std::fs::write(path("other"), other.signing_key.serialize_pem()).unwrap();
    let told = |variables: [(&str, &str); 3]| {
        let variables = variables.map(|(name, file)| (name, path(file)));
        let config = Config::builder().bind("tcp://[::]:0").environment_from(variables);
        let error = config.tls_min_version("TLSv1_3").build().unwrap().tls_layer().unwrap_err();
        assert!(error.hint().is_some(), "{error:?}");
        let text = portcullis_layers::ErrorChain(&error).to_string();
        assert!(text.contains(directory.path().to_str().unwrap()), "{text}");
        error.to_string()
    };
    let (certificate, key, ca) = ("TLS_CERTIFICATE", "TLS_KEY", "CLIENT_TLS_CERTIFICATE_CA");
    assert_eq!(
        told([(certificate, "nowhere"), (key, "key"), (ca, "certificate")]),
        "wrong TLS certificate (from the variable `TLS_CERTIFICATE`)"
    );
    assert_eq!(
        told([(certificate, "certificate"), (key, "other"), (ca, "certificate")]),
        "wrong TLS certificate (from the variable `TLS_CERTIFICATE`) or TLS key (from the variable `TLS_KEY`)",
        "but not the CA, which is the same file"
    );
    assert_eq!(
        told([(certificate, "certificate"), (key, "key"), (ca, "other")]),
        "wrong CA of clients (from the variable `CLIENT_TLS_CERTIFICATE_CA`)"
    );
}

#[test]
fn a_start_command_can_be_any_bytes_in_code() {
    let program = OsString::from_vec(b"/bin/\xff".to_vec());
    let config = Config::builder()
        .bind("tcp://[::]:0")
        .start_command(StartCommand::new(program.clone(), ["a"]))
        .build()
        .unwrap();
    assert_eq!(config.start_command().unwrap().program(), program);
}

#[test]
fn what_asks_for_tls_without_a_certificate_is_not_served_in_plain_text() {
    for (name, value) in [("TLS_VERSION", "TLSv1_3"), ("CLIENT_TLS_CERTIFICATE_CA", "ca.pem")] {
        let error = built(&[(name, value)]).unwrap_err();
        assert!(matches!(error, ConfigError::Conflict { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(name) && text.contains("without TLS"), "{text}");
    }
}
