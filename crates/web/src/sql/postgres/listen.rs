//! What PostgreSQL tells of tables that have changed (`LISTEN`).
//!
//! What was told while nobody listened is not known: whenever a connection begins, everything is forgotten that was made of the database.

use std::sync::Weak;
use std::time::Duration;

use tokio_postgres::{AsyncMessage, Client};

use super::connection::{Driver, OpenError, Opening};
use crate::sql::Shared;
use crate::sql::metrics::Cause;
use crate::sql::statement::table_name;

/// How long it waits before it connects again: at first, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));

/// How it is looked whether the server is still there: who listens has nothing to say, and would not notice.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asking {
    /// How often.
    pub(super) interval: Duration,
    /// How long it may take to answer.
    pub(super) patience: Duration,
}

impl Asking {
    /// Asks until there is no answer.
    async fn until_silent(self, client: &Client) -> OpenError {
        loop {
            tokio::time::sleep(self.interval).await;
            match tokio::time::timeout(self.patience, client.check_connection()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return error.into(),
                Err(_) => return OpenError::Silent,
            }
        }
    }
}

/// Listens for as long as the server runs.
pub(super) async fn run(opening: Opening, channel: String, asking: Asking, shared: Weak<Shared>) {
    let mut pause = PAUSES.0;
    loop {
        match listen(&opening, &channel, asking, &shared, &mut pause).await {
            Ok(()) => tracing::warn!(database = opening.name(), channel, "the connection that listens has ended"),
            Err(error) => tracing::warn!(database = opening.name(), channel, %error, "cannot listen"),
        }
        if shared.strong_count() == 0 {
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

async fn listen(
    opening: &Opening,
    channel: &str,
    asking: Asking,
    shared: &Weak<Shared>,
    pause: &mut Duration,
) -> Result<(), OpenError> {
    let channel = channel.replace('"', "\"\"");
    let began = async {
        let (client, mut driver) = opening.connect().await?;
        let asked = begin(&client, format!("LISTEN \"{channel}\""), &mut driver).await?;
        Ok::<_, OpenError>(asked.then_some((client, driver)))
    };
    let began = tokio::time::timeout(asking.patience, began).await.map_err(|_| OpenError::Silent)?;
    let Some((client, mut driver)) = began? else { return Ok(()) };
    *pause = PAUSES.0;
    if let Some(shared) = shared.upgrade() {
        shared.cache.forget_database(opening.name(), Cause::Reconnected).await;
    }
    let mut silent = std::pin::pin!(asking.until_silent(&client));
    loop {
        let message = tokio::select! {
            // What has arrived is taken in first: it may be the answer.
            biased;
            message = std::future::poll_fn(|context| driver.poll(context)) => message,
            error = &mut silent => return Err(error),
        };
        let Some(message) = message else { return Ok(()) };
        let AsyncMessage::Notification(told) = message? else { continue };
        let Some(shared) = shared.upgrade() else { return Ok(()) };
        let names = told.payload().split(',').map(table_name).filter(|name| !name.is_empty());
        let tables: Vec<String> = names.collect();
        match tables.is_empty() {
            true => shared.cache.forget_database(opening.name(), Cause::Notified).await,
            false => shared.cache.forget_tables(opening.name(), &tables, Cause::Notified).await,
        };
    }
}

/// Runs a statement while the connection is driven; false where that ended before.
async fn begin(client: &Client, sql: String, driver: &mut Driver) -> Result<bool, OpenError> {
    let mut asked = std::pin::pin!(client.batch_execute(&sql));
    loop {
        tokio::select! {
            asked = &mut asked => return Ok(asked.map(|()| true)?),
            message = std::future::poll_fn(|context| driver.poll(context)) => match message {
                Some(message) => drop(message?),
                None => return Ok(false),
            },
        }
    }
}
