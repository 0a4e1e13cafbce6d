//! Versions and aliases of machines, as they are published, listed, changed and deleted.
//!
//! Invariants: each change is one compare-and-put of the machine's record, tried again while others change it; a description is
//! kept before the version is there that it belongs to, under a number that no other version has. What may fail: see
//! [`super::published`]; the store.

use crate::error::Error;
use crate::placement::Dice;

use super::published::{Alias, PublishedVersion, Route};
use super::qualified::{Qualified, Qualifier, is_alias_name, parse, plain};
use super::record::{self, Record};
use super::{DESCRIPTION_CHARS_MAX, TRIES_MAX, Templates, busy, page_limit};

impl Templates {
    /// Publishes a machine as it is now: the number of the version, and when it was published in Unix milliseconds. One that is
    /// published already is not published again. `revision_id`: only if that is its revision now (`INITIAL`: the first).
    ///
    /// # Errors
    /// [`Error::Conflict`] (`ConflictException`) when it has another revision, [`Error::Limit`]
    /// (`ServiceQuotaExceededException`), [`Error::NotFound`] for an unknown machine, [`Error::Invalid`], [`Error::Store`].
    pub async fn publish(
        &self,
        arn: &str,
        revision_id: Option<&str>,
        description: Option<&str>,
    ) -> Result<(u32, u64), Error> {
        plain(arn)?;
        for _ in 0..TRIES_MAX {
            let begun = self.cache.begin();
            let (bytes, mut head) = self.head(arn).await?;
            let now = head.revision_id();
            if revision_id.is_some_and(|asked| asked != now.as_deref().unwrap_or("INITIAL")) {
                let message =
                    format!("{arn} has another revision by now: describe it, then publish that one");
                return Err(Error::conflict("ConflictException", message));
            }
            if let Some((number, version)) = head.published.of_revision(head.version) {
                return Ok((number, version.created_ms));
            }
            let number = self.publish_in(&mut head, description).await?;
            let created_ms = head.published.live.get(&number).map(|version| version.created_ms);
            if self.store.compare_and_put(record::head_key(arn), Some(bytes), Some(head.encode()?)).await? {
                self.cache.changed(arn, None, begun);
                return Ok((number, created_ms.unwrap_or_default()));
            }
            self.take_back(&head, Some(number)).await?;
        }
        Err(busy(arn))
    }

    /// Publishes a record as it stands, in the record; what is said of the version is kept already.
    pub(super) async fn publish_in(
        &self,
        record: &mut Record,
        description: Option<&str>,
    ) -> Result<u32, Error> {
        let description = description.filter(|text| !text.is_empty());
        let length = description.map_or(0, |text| text.chars().count());
        if length > DESCRIPTION_CHARS_MAX {
            let message =
                format!("the version's description has {length} characters: at most {DESCRIPTION_CHARS_MAX}");
            return Err(Error::invalid("ValidationException", message));
        }
        // Of several who publish at the same time one wins: it must not find another's description.
        let taken =
            |number: &u32| record.published.live.values().any(|version| version.description == Some(*number));
        let mut dice = Dice::random();
        let drawn = std::iter::repeat_with(|| u32::try_from(dice.next_u64() >> 32).unwrap_or_default())
            .find(|number| !taken(number));
        let kept = drawn.filter(|_| description.is_some());
        let version =
            PublishedVersion { revision: record.version, created_ms: self.clock.now_ms(), description: kept };
        let number = record.published.publish(version)?;
        if let (Some(kept), Some(text)) = (kept, description) {
            self.store.put(record::description_key(&record.arn, kept), text.to_owned().into()).await?;
        }
        Ok(number)
    }

    /// Removes what was kept of a version that came to nothing.
    pub(super) async fn take_back(&self, record: &Record, number: Option<u32>) -> Result<(), Error> {
        match number.and_then(|number| record.published.live.get(&number)?.description) {
            Some(kept) => self.remove(record::description_key(&record.arn, kept)).await,
            None => Ok(()),
        }
    }

    /// One page of a machine's versions, the newest first. The token of the last page is empty.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a foreign token and for what is no machine's ARN, [`Error::NotFound`], [`Error::Store`].
    pub async fn versions(
        &self,
        arn: &str,
        max_results: u32,
        token: &str,
    ) -> Result<(Vec<(u32, PublishedVersion)>, String), Error> {
        plain(arn)?;
        let purpose = format!("versions of {arn}");
        let place = self.open(&purpose, token)?;
        let below = place.and_then(|place| place.parse().ok()).unwrap_or(u32::MAX);
        let (_, head) = self.head(arn).await?;
        let limit = page_limit(max_results);
        // `u32::MAX` itself is never given: there are no revisions for it.
        let mut rest = head.published.live.range(..below).rev().map(|(number, version)| (*number, *version));
        let page: Vec<_> = rest.by_ref().take(limit).collect();
        let last = page.last().filter(|_| rest.next().is_some());
        let next = last.map(|(number, _)| self.seal(&purpose, &number.to_string())).transpose()?;
        Ok((page, next.unwrap_or_default()))
    }

    /// Deletes a version. Executions of it go on. One that is not there is as good as deleted.
    ///
    /// # Errors
    /// [`Error::Conflict`] (`ConflictException`) while an alias leads to it, [`Error::NotFound`] for an unknown machine,
    /// [`Error::Invalid`], [`Error::Store`].
    pub async fn delete_version(&self, arn: &str) -> Result<(), Error> {
        let Qualified { machine, qualifier: Some(Qualifier::Version(number)), .. } = parse(arn)? else {
            return Err(Error::invalid(
                "InvalidArn",
                "name a version: a state machine's ARN, a colon and its number",
            ));
        };
        let gone = self.amend(machine, |record: &mut Record| record.published.delete(number)).await?;
        if let Some(kept) = gone.and_then(|version| version.description) {
            self.remove(record::description_key(machine, kept)).await?;
        }
        Ok(())
    }

    /// Makes a name that leads to versions, each given by its ARN and its weight. Gives the name's ARN, and when it was made in
    /// Unix milliseconds; the same one again is the one that is there.
    ///
    /// # Errors
    /// [`Error::Invalid`] (`InvalidName`, `InvalidArn`, `InvalidRoutingConfiguration`), [`Error::Conflict`] when the name leads
    /// elsewhere, [`Error::Limit`], [`Error::NotFound`] for an unknown machine, [`Error::Store`].
    pub async fn create_alias(
        &self,
        name: &str,
        routing: &[(String, u8)],
        description: &str,
    ) -> Result<(String, u64), Error> {
        if !is_alias_name(name) {
            let message = "an alias' name has 1 to 80 letters, digits and _-. and is no number";
            return Err(Error::invalid("InvalidName", message));
        }
        check_description(description)?;
        let (machine, routes) = routes(routing, None)?;
        let now = self.clock.now_ms();
        let alias = Alias { routes, description: description.to_owned(), created_ms: now, updated_ms: now };
        let create = |record: &mut Record| record.published.create_alias(name, alias.clone());
        let created_ms = self.amend(machine, create).await?;
        Ok((format!("{machine}:{name}"), created_ms))
    }

    /// Leads an alias elsewhere, or describes it anew; `None`: as before. Gives when, in Unix milliseconds.
    ///
    /// # Errors
    /// As [`Templates::create_alias`]; `MissingRequiredParameter` for a change of nothing; [`Error::NotFound`]
    /// (`ResourceNotFound`) for an unknown alias.
    pub async fn update_alias(
        &self,
        arn: &str,
        description: Option<&str>,
        routing: Option<&[(String, u8)]>,
    ) -> Result<u64, Error> {
        let (machine, name) = alias_of(arn)?;
        if description.is_none() && routing.is_none() {
            let message = "give a description or a routingConfiguration that is to change";
            return Err(Error::invalid("MissingRequiredParameter", message));
        }
        check_description(description.unwrap_or_default())?;
        let routes =
            routing.map(|routing| routes(routing, Some(machine))).transpose()?.map(|(_, routes)| routes);
        let now = self.clock.now_ms();
        let update = |record: &mut Record| {
            routes.as_ref().map_or(Ok(()), |routes| record.published.check(routes))?;
            let alias = record.published.aliases.get_mut(name).ok_or_else(|| unknown(arn))?;
            if let Some(routes) = &routes {
                alias.routes.clone_from(routes);
            }
            if let Some(description) = description {
                description.clone_into(&mut alias.description);
            }
            // The same words in the same millisecond are a change all the same.
            alias.updated_ms = now.max(alias.updated_ms);
            Ok(alias.updated_ms)
        };
        self.amend(machine, update).await
    }

    /// An alias: its name, and where it leads.
    ///
    /// # Errors
    /// [`Error::NotFound`] (`ResourceNotFound`, `StateMachineDoesNotExist`), [`Error::Invalid`], [`Error::Store`].
    pub async fn describe_alias(&self, arn: &str) -> Result<(String, Alias), Error> {
        let (machine, name) = alias_of(arn)?;
        let (_, mut head) = self.head(machine).await?;
        let alias = head.published.aliases.remove(name).ok_or_else(|| unknown(arn))?;
        Ok((name.to_owned(), alias))
    }

    /// Deletes an alias. Executions that it led to a version go on.
    ///
    /// # Errors
    /// As [`Templates::describe_alias`].
    pub async fn delete_alias(&self, arn: &str) -> Result<(), Error> {
        let (machine, name) = alias_of(arn)?;
        let delete =
            |record: &mut Record| record.published.aliases.remove(name).map(drop).ok_or_else(|| unknown(arn));
        self.amend(machine, delete).await
    }

    /// One page of a machine's aliases by name; of a version's ARN, those that lead to it. The token of the last page is empty.
    ///
    /// # Errors
    /// As [`Templates::versions`].
    pub async fn aliases(
        &self,
        arn: &str,
        max_results: u32,
        token: &str,
    ) -> Result<(Vec<(String, Alias)>, String), Error> {
        let purpose = format!("aliases of {arn}");
        let (machine, number) = match parse(arn)? {
            Qualified { machine, qualifier: None, .. } => (machine, None),
            Qualified { machine, qualifier: Some(Qualifier::Version(number)), .. } => (machine, Some(number)),
            _ => return Err(Error::invalid("InvalidArn", "name a state machine, or a version of one")),
        };
        let after = self.open(&purpose, token)?.unwrap_or_default();
        let (_, head) = self.head(machine).await?;
        let leads = |alias: &Alias| {
            number.is_none_or(|number| alias.routes.iter().any(|route| route.version == number))
        };
        let mut rest =
            head.published.aliases.into_iter().filter(|(name, alias)| *name > after && leads(alias));
        let page: Vec<_> = rest.by_ref().take(page_limit(max_results)).collect();
        let last = page.last().filter(|_| rest.next().is_some());
        let next = last.map(|(name, _)| self.seal(&purpose, name)).transpose()?;
        Ok((page, next.unwrap_or_default()))
    }
}

fn unknown(arn: &str) -> Error {
    Error::not_found(
        "ResourceNotFound",
        format!("{arn} does not exist: create it, or list the aliases that do"),
    )
}

fn check_description(text: &str) -> Result<(), Error> {
    let length = text.chars().count();
    if length <= DESCRIPTION_CHARS_MAX {
        return Ok(());
    }
    let message = format!("the alias' description has {length} characters: at most {DESCRIPTION_CHARS_MAX}");
    Err(Error::invalid("ValidationException", message))
}

/// The machine and the name of an alias.
fn alias_of(arn: &str) -> Result<(&str, &str), Error> {
    match parse(arn)? {
        Qualified { machine, qualifier: Some(Qualifier::Alias(name)), .. } => Ok((machine, name)),
        _ => Err(Error::invalid(
            "InvalidArn",
            "name an alias: a state machine's ARN, a colon and the alias' name",
        )),
    }
}

/// The machine of a routing configuration, and the versions.
fn routes<'a>(routing: &'a [(String, u8)], machine: Option<&'a str>) -> Result<(&'a str, Vec<Route>), Error> {
    let wrong = |why: &str| Error::invalid("InvalidRoutingConfiguration", why);
    let (mut of, mut routes) = (machine, Vec::with_capacity(routing.len()));
    for (arn, weight) in routing {
        let Qualified { machine, qualifier: Some(Qualifier::Version(version)), .. } = parse(arn)? else {
            return Err(wrong(
                "a routing configuration names versions: a state machine's ARN, a colon and a number",
            ));
        };
        if of.is_some_and(|of| of != machine) {
            return Err(wrong("a routing configuration names versions of one state machine, the alias' own"));
        }
        of = Some(machine);
        routes.push(Route { version, weight: *weight });
    }
    Ok((of.ok_or_else(|| wrong("a routing configuration names 1 or 2 versions"))?, routes))
}
