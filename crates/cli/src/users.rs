//! `wardwatch users`: who may see the page and what they may do, tokens for programs, and what everybody saw and did.

use std::io::{BufRead as _, IsTerminal as _};
use std::time::Duration;

use anyhow::{Context, bail};
use chrono::{DateTime, TimeDelta, Utc};

use wardwatch_config::Job;
use wardwatch_model::clock::{Clock, SystemClock};
use wardwatch_model::diagnostic::unknown;
use wardwatch_model::terms::Role;
use wardwatch_store::{ADD_USER, ApiToken, AuditEntry, Store, User};
use wardwatch_web::{hash_password, new_secret};

use super::arguments::{JobFile, duration};
use super::table::{aligned, second};

/// The arguments of `users`.
#[derive(Debug, clap::Args)]
pub(super) struct Users {
    #[command(subcommand)]
    command: UsersCommand,
}

#[derive(Debug, clap::Subcommand)]
enum UsersCommand {
    /// Add a user, or give one another role and password; the password is asked for, or is the first line of the input
    Add(Add),
    /// Show the users and the tokens
    List(JobFile),
    /// Remove a user, but not the last one; whoever is logged in by that name is out within ten seconds
    Remove(Named),
    /// Make a token by which a program may ask; it is shown once
    Token(Token),
    /// Remove a token
    RevokeToken(Named),
    /// Show who saw and did what
    Audit(Audit),
}

#[derive(Debug, clap::Args)]
struct Add {
    #[command(flatten)]
    who: Named,
    /// viewer: numbers and alerts; nurse: names of patients, acknowledging, pausing; admin: limits too
    #[arg(long, value_name = "ROLE", value_parser = role)]
    role: Role,
}

#[derive(Debug, clap::Args)]
struct Named {
    #[command(flatten)]
    file: JobFile,
    /// The name
    #[arg(value_name = "NAME")]
    name: String,
}

#[derive(Debug, clap::Args)]
struct Token {
    #[command(flatten)]
    who: Named,
    /// What it may do
    #[arg(long, value_name = "ROLE", default_value = "viewer", value_parser = role)]
    role: Role,
    /// How long it holds; without it, until it is removed
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    length: Option<Duration>,
}

#[derive(Debug, clap::Args)]
struct Audit {
    #[command(flatten)]
    file: JobFile,
    /// How far back
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = duration)]
    last: Duration,
}

/// Lines of the audit that are shown at the most.
const MOST: usize = 10_000;

fn role(text: &str) -> Result<Role, String> {
    let names = || Role::ALL.iter().map(|role| role.name());
    Role::from_name(text).ok_or_else(|| unknown("role", text, names()))
}

/// The store, with its tables: users may come before the first batch.
fn open(file: &JobFile) -> anyhow::Result<(Job, Store)> {
    let job = wardwatch_config::load(&file.job)?;
    let mut store = Store::connect(&job.store, &job.name)?;
    store.migrate(&[])?;
    Ok((job, store))
}

impl Users {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self.command {
            UsersCommand::Add(add) => add.run(),
            UsersCommand::List(file) => list(&file),
            UsersCommand::Remove(named) => named.remove(),
            UsersCommand::Token(token) => token.run(),
            UsersCommand::RevokeToken(named) => named.revoke(),
            UsersCommand::Audit(audit) => audit.run(),
        }
    }
}

/// A password that is typed twice, or the first line of an input that nobody types.
fn password() -> anyhow::Result<String> {
    if !std::io::stdin().is_terminal() {
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).context("the password cannot be read")?;
        return Ok(line.trim_end_matches(['\r', '\n']).to_owned());
    }
    let first = rpassword::prompt_password("Password: ").context("the password cannot be read")?;
    let second = rpassword::prompt_password("Again: ").context("the password cannot be read")?;
    if first != second {
        bail!("these are two passwords");
    }
    Ok(first)
}

fn checked(name: String) -> anyhow::Result<String> {
    let is_name = !name.trim().is_empty() && name.trim() == name && name.chars().count() <= 100;
    if !is_name || name.chars().any(char::is_control) {
        bail!("\"{name}\" is no name; it has 1 to 100 characters and no space around it");
    }
    Ok(name)
}

impl Add {
    fn run(self) -> anyhow::Result<()> {
        let name = checked(self.who.name)?;
        let (_, mut store) = open(&self.who.file)?;
        let password = hash_password(&password()?)?;
        let now = SystemClock.now();
        store.put_user(&User { name: name.clone(), password, role: self.role, changed_at: now })?;
        store.note_audit(&added(&name, self.role, now))?;
        println!("{name} · {}", self.role.name());
        Ok(())
    }
}

/// That a user was added, or changed, by whoever may call this program: pages tell by it that there were users once.
fn added(name: &str, role: Role, at: DateTime<Utc>) -> AuditEntry {
    AuditEntry {
        at,
        id: new_secret().1.chars().take(16).collect(),
        who: "wardwatch users".to_owned(),
        role: String::new(),
        address: String::new(),
        action: ADD_USER.to_owned(),
        subject: name.to_owned(),
        detail: role.name().to_owned(),
    }
}

fn list(file: &JobFile) -> anyhow::Result<()> {
    let (_, mut store) = open(file)?;
    let users = store.users()?.into_iter().map(|user| {
        vec![user.name, "user".to_owned(), user.role.name().to_owned(), second(user.changed_at), String::new()]
    });
    let tokens = store.api_tokens()?.into_iter().map(|token| {
        let until = token.until.map(second).unwrap_or_default();
        vec![token.name, "token".to_owned(), token.role.name().to_owned(), second(token.made_at), until]
    });
    let rows: Vec<Vec<String>> = users.collect::<Vec<_>>().into_iter().chain(tokens).collect();
    print!("{}", aligned(&["NAME", "KIND", "ROLE", "SINCE", "UNTIL"], rows));
    Ok(())
}

impl Named {
    fn remove(self) -> anyhow::Result<()> {
        let (_, mut store) = open(&self.file)?;
        let users = store.users()?;
        if !users.iter().any(|user| user.name == self.name) {
            bail!(unknown("user", &self.name, users.iter().map(|user| user.name.as_str())));
        }
        if !store.remove_user(&self.name)? {
            bail!(
                "\"{}\" is the last user, and without users whoever sits at this machine may do everything; add another \
                 first: `wardwatch users add {} NAME --role admin`",
                self.name,
                self.file.job.display()
            );
        }
        println!("{} is no user any more", self.name);
        Ok(())
    }

    fn revoke(self) -> anyhow::Result<()> {
        let (_, mut store) = open(&self.file)?;
        let tokens = store.api_tokens()?;
        if !tokens.iter().any(|token| token.name == self.name) {
            bail!(unknown("token", &self.name, tokens.iter().map(|token| token.name.as_str())));
        }
        store.remove_api_token(&self.name)?;
        println!("the token {} holds no more", self.name);
        Ok(())
    }
}

impl Token {
    fn run(self) -> anyhow::Result<()> {
        let name = checked(self.who.name)?;
        let (_, mut store) = open(&self.who.file)?;
        if store.api_tokens()?.iter().any(|token| token.name == name) {
            bail!("there is a token \"{name}\"; remove it first with `wardwatch users revoke-token`");
        }
        let (secret, id) = new_secret();
        let made_at = SystemClock.now();
        let until = match self.length {
            None => None,
            Some(length) => Some(made_at + TimeDelta::from_std(length)?),
        };
        store.put_api_token(&ApiToken { id, name, role: self.role, made_at, until })?;
        println!("{secret}");
        Ok(())
    }
}

impl Audit {
    fn run(self) -> anyhow::Result<()> {
        let (_, mut store) = open(&self.file)?;
        let since = SystemClock.now() - TimeDelta::from_std(self.last)?;
        let rows = store.audit(since, MOST)?.into_iter().map(|entry| {
            vec![second(entry.at), entry.who, entry.role, entry.address, entry.action, entry.subject, entry.detail]
        });
        print!("{}", aligned(&["AT", "WHO", "ROLE", "FROM", "DID", "WHAT", "MORE"], rows));
        Ok(())
    }
}
