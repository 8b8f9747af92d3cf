//! The account with an ACME server: made once, kept, and used again.

use instant_acme::{Account, AccountCredentials, ExternalAccountKey, NewAccount};

use super::directory::Directory;
use super::storage::{KeptAccount, Storage};
use super::{AcmeError, Settings};

/// The account that is kept, or a new one.
pub(super) async fn open(settings: &Settings, storage: &Storage, directory: &Directory) -> Result<Account, AcmeError> {
    let builder = Account::builder_with_http(Box::new(directory.clone()));
    let email = settings.email.clone();
    let contact: Vec<String> = email.iter().map(|email| format!("mailto:{email}")).collect();
    let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
    if let Some(kept) = storage.account()? {
        let (credentials, again) = twice(kept.credentials)?;
        let account = builder.from_credentials(credentials).await?;
        if kept.email != email {
            account.update_contacts(&contact).await?;
            storage.keep_account(&KeptAccount { email, credentials: again })?;
        }
        return Ok(account);
    }
    let external = settings.external_account.as_ref();
    let external = external.map(|(id, key)| ExternalAccountKey::new(id.clone(), key));
    let new = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
    let (account, credentials) = builder.create(&new, settings.directory.clone(), external.as_ref()).await?;
    storage.keep_account(&KeptAccount { email, credentials })?;
    tracing::info!(directory = settings.directory, account = account.id(), "an ACME account was made");
    Ok(account)
}

/// The credentials for use and for keeping: they are no type that can be copied.
fn twice(credentials: AccountCredentials) -> Result<(AccountCredentials, AccountCredentials), AcmeError> {
    let copy = serde_json::to_value(&credentials).and_then(serde_json::from_value);
    Ok((copy.map_err(|error| AcmeError::Acme(error.into()))?, credentials))
}
