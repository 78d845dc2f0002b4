//! From flags, files and environment to settings.

use castmq_actors::Parts;
use castmq_config::{Flag, LoadError, Loaded, Loader, Node};

use crate::command_line::ServeFlags;

/// Loads the settings of a process.
pub(crate) fn load(parts: Parts, flags: &ServeFlags) -> Result<Loaded, LoadError> {
    let node = match parts {
        Parts::Standalone => Node::Standalone,
        Parts::Broker => Node::Broker,
        Parts::NameServer => Node::NameServer,
    };
    let mut loader = Loader::new(node).environment(std::env::vars_os());
    if let Some(file) = &flags.config {
        loader = loader.file(file);
    }
    let data = flags.data.as_ref().map(|path| path.display().to_string());
    let given = [
        ("store.data_dir", data, "--data"),
        ("broker.listen", flags.listen.clone(), "--listen"),
        (
            "name_server.listen",
            flags.namesrv_listen.clone(),
            "--namesrv-listen",
        ),
        (
            "broker.name_servers",
            flags.name_servers.clone(),
            "--namesrv",
        ),
    ];
    let flags = given
        .into_iter()
        .filter_map(|(key, value, flag)| Some(Flag::new(key, value?, flag)));
    loader.flags(flags).load()
}
