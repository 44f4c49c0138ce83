//! What a configuration says of a generation.

use super::Config;
use crate::builder::GenerationBuilder;

impl GenerationBuilder {
    /// Sets the timeouts, the probation and the limit of draining generations as a [`Config`] has
    /// them, and the start command, the pid file and the control path where it has them.
    pub fn config(mut self, config: &Config) -> Self {
        if let Some(command) = config.start_command() {
            self = self.start_command(command.clone());
        }
        if let Some(path) = config.pid_file() {
            self = self.pid_file(path);
        }
        if let Some(path) = config.takeover_path() {
            self = self.control(path);
        }
        self.ready_timeout(config.ready_timeout())
            .drain_timeout(config.drain_timeout())
            .probation(config.probation())
            .draining_limit(config.draining_limit())
    }
}
