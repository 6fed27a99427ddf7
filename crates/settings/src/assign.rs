//! Values of settings from the command line. Must not know which settings there are.

/// Sets a dotted key of a table to a value, given as `key=value` on the command line.
///
/// A value is written as in TOML. A value that is not valid TOML is taken as text, so that it needs no quotes. The
/// number after the name of a list of tables is an index, as in `reward.0.weight=2`.
///
/// ```
/// let mut table = toml::Table::new();
/// palestra_settings::assign(&mut table, "ppo.epochs = 2")?;
/// palestra_settings::assign(&mut table, "device=flex")?;
/// assert_eq!(table, toml::toml! { ppo.epochs = 2
///                                 device = "flex" });
/// # Ok::<(), String>(())
/// ```
///
/// # Errors
/// The reason why the key cannot be set. Unknown keys are found when the table is parsed.
pub fn assign(table: &mut toml::Table, assignment: &str) -> Result<(), String> {
    let (path, text) = assignment.split_once('=').ok_or("write key=value, such as ppo.epochs=2")?;
    let parsed = format!("value = {text}").parse::<toml::Table>();
    let value = parsed.ok().filter(|table| table.len() == 1).and_then(|mut table| table.remove("value"));
    let value = value.unwrap_or_else(|| toml::Value::String(text.trim().to_string()));
    let mut keys: Vec<&str> = path.split('.').map(str::trim).collect();
    let last = keys.pop().unwrap_or_default();
    let mut section = table;
    let mut keys = keys.into_iter().peekable();
    while let Some(key) = keys.next() {
        let mut inner = section.entry(key).or_insert_with(|| toml::Table::new().into());
        if let toml::Value::Array(items) = inner {
            // Index into several tables of a name, such as reward.0.weight.
            let count = items.len();
            let item = keys.next().and_then(|number| items.get_mut(number.parse::<usize>().ok()?));
            inner = item.ok_or_else(|| format!("there are {count} `{key}`; write {key}.0 for the first"))?;
        }
        section = inner.as_table_mut().ok_or_else(|| format!("`{key}` is no section"))?;
    }
    section.insert(last.to_string(), value);
    Ok(())
}
