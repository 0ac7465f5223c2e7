use super::*;
use std::net::{Ipv4Addr, Ipv6Addr};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const AFAR: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

async fn login(users: &Arc<Users>, peer: IpAddr, name: &str, password: &str) -> Result<(), Refused> {
    Arc::clone(users)
        .verify(peer, name.to_owned(), password.to_owned())
        .await
}

#[tokio::test]
async fn guest_works_from_this_machine_alone() {
    let users = Users::new(&[]).unwrap();
    assert_eq!(login(&users, HERE, "guest", "guest").await, Ok(()));
    assert_eq!(
        login(&users, Ipv6Addr::LOCALHOST.into(), "guest", "guest").await,
        Ok(())
    );
    let mapped = Ipv4Addr::LOCALHOST.to_ipv6_mapped();
    assert_eq!(login(&users, mapped.into(), "guest", "guest").await, Ok(()));
    assert_eq!(login(&users, AFAR, "guest", "guest").await, Err(Refused::GuestFromAfar));
    assert_eq!(login(&users, HERE, "guest", "wrong").await, Err(Refused::Wrong));
    assert_eq!(login(&users, HERE, "other", "guest").await, Err(Refused::Wrong));
}

#[tokio::test]
async fn configured_users_replace_guest() {
    let hash = hash_password("s3cret").unwrap();
    let users = Users::new(&[
        User {
            name: "ann".to_owned(),
            secret: Secret::Password("pw".to_owned()),
        },
        User {
            name: "bob".to_owned(),
            secret: Secret::Hash(hash),
        },
    ])
    .unwrap();
    assert_eq!(login(&users, AFAR, "ann", "pw").await, Ok(()));
    assert_eq!(login(&users, AFAR, "ann", "s3cret").await, Err(Refused::Wrong));
    assert_eq!(login(&users, HERE, "guest", "guest").await, Err(Refused::Wrong));
    assert_eq!(login(&users, AFAR, "bob", "wrong").await, Err(Refused::Wrong));
    assert!(users.remembered().is_empty());
    assert_eq!(login(&users, AFAR, "bob", "s3cret").await, Ok(()));
    assert_eq!(users.remembered().len(), 1);
    // Remembered: a second login costs no argon2, and a wrong password still fails.
    let blocked = users.hashing.acquire_many(HASHING_MAX as u32).await.unwrap();
    assert_eq!(login(&users, AFAR, "bob", "s3cret").await, Ok(()));
    drop(blocked);
    assert_eq!(login(&users, AFAR, "bob", "wrong").await, Err(Refused::Wrong));
}

#[test]
fn hashes_are_checked_and_salted() {
    let (one, two) = (hash_password("x").unwrap(), hash_password("x").unwrap());
    assert!(one.starts_with("$argon2id$") && one != two);
    assert!(check_hash(&one).is_ok());
    let error = check_hash("plain").unwrap_err().to_string();
    assert!(error.contains("hash-password"), "{error}");
}
