//! Who may connect, forged identities, leaked secrets, floods.
