//! Who may connect: users, passwords, and a memory of passwords that were right.

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use rand::TryRng;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;

/// argon2 computations at once: each takes some 20 MiB and tens of milliseconds of one core, and a storm of wrong
/// passwords must not take the machine from those who are connected.
const HASHING_MAX: usize = 2;
/// Right passwords remembered, so that a storm of reconnects costs no argon2 each. Bounded by the number of users, for
/// only the newest password of each is kept.
type Remembered = BTreeMap<String, [u8; 32]>;

/// The default user, when none is configured: works from this machine alone.
pub const GUEST: &str = "guest";

/// How a user proves who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secret {
    /// In the clear in the configuration.
    Password(String),
    /// An argon2 hash in PHC form, as `waystation hash-password` prints.
    Hash(String),
}

/// One configured user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Its name.
    pub name: String,
    /// Its proof.
    pub secret: Secret,
}

/// All users. Shared by all connections.
#[derive(Debug)]
pub struct Users {
    users: BTreeMap<String, Secret>,
    loopback_only: bool,
    key: [u8; 32],
    remembered: Mutex<Remembered>,
    hashing: Semaphore,
}

/// Why a login was refused. The text is for the peer, and does not tell a wrong name from a wrong password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The name or the password.
    #[error("user name or password is wrong")]
    Wrong,
    /// The default user from elsewhere.
    #[error("user 'guest' may connect from this machine only: configure a user of your own under [[users]]")]
    GuestFromAfar,
}

/// A password could not be hashed or a hash not be read.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct HashError(String);

impl Users {
    /// The configured users; if there are none, `guest` with password `guest` from loopback addresses.
    ///
    /// # Errors
    /// If the operating system gives no randomness.
    pub fn new(configured: &[User]) -> Result<Arc<Self>, HashError> {
        let mut users: BTreeMap<String, Secret> = configured
            .iter()
            .map(|user| (user.name.clone(), user.secret.clone()))
            .collect();
        let loopback_only = users.is_empty();
        if loopback_only {
            users.insert(GUEST.to_owned(), Secret::Password(GUEST.to_owned()));
        }
        let mut key = [0; 32];
        rand::rngs::SysRng
            .try_fill_bytes(&mut key)
            .map_err(|error| HashError(format!("the operating system gives no randomness: {error}")))?;
        Ok(Arc::new(Self {
            users,
            loopback_only,
            key,
            remembered: Mutex::new(BTreeMap::new()),
            hashing: Semaphore::new(HASHING_MAX),
        }))
    }

    /// Decides about a login from `peer`.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn verify(self: Arc<Self>, peer: IpAddr, name: String, password: String) -> Result<(), Refused> {
        if self.loopback_only && name == GUEST && !peer.to_canonical().is_loopback() {
            return Err(Refused::GuestFromAfar);
        }
        let digest = self.digest(&name, &password);
        let hash = match self.users.get(&name) {
            Some(Secret::Password(right)) => {
                return if same(&digest, &self.digest(&name, right)) {
                    Ok(())
                } else {
                    Err(Refused::Wrong)
                };
            }
            Some(Secret::Hash(hash)) => hash.clone(),
            None => return Err(Refused::Wrong),
        };
        if self.remembered().get(&name).is_some_and(|known| same(known, &digest)) {
            return Ok(());
        }
        let turn = self.hashing.acquire().await.expect("never closed");
        let right = tokio::task::spawn_blocking(move || hash_matches(&hash, &password))
            .await
            .unwrap_or(false);
        drop(turn);
        if !right {
            return Err(Refused::Wrong);
        }
        self.remembered().insert(name, digest);
        Ok(())
    }

    /// A digest that is worthless outside this process.
    fn digest(&self, name: &str, password: &str) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.key);
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name.as_bytes());
        hash.update(password.as_bytes());
        hash.finalize().into()
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, Remembered> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Compares in a time that tells nothing of where they differ.
fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    a.iter().zip(b).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

fn hash_matches(hash: &str, password: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

/// The argon2 hash of a password, in PHC form, with a fresh salt.
///
/// # Errors
/// If the operating system gives no randomness.
pub fn hash_password(password: &str) -> Result<String, HashError> {
    Argon2::default()
        .hash_password(password.as_bytes())
        .map(|hash| hash.to_string())
        .map_err(|error| HashError(format!("cannot hash the password: {error}")))
}

/// Checks the form of a hash from the configuration.
///
/// # Errors
/// What is wrong with it.
pub fn check_hash(hash: &str) -> Result<(), HashError> {
    PasswordHash::new(hash).map(|_| ()).map_err(|error| {
        HashError(format!(
            "not an argon2 hash ({error}): make one with `waystation hash-password`"
        ))
    })
}

#[cfg(test)]
#[path = "users_tests.rs"]
mod tests;
