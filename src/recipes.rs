//! Recipes inside the program, by name: run files of `examples/recipes` that need no other file.

/// Name and text of each recipe.
pub const RECIPES: [(&str, &str); 3] = [
    ("frozen-lake-ppo", include_str!("../examples/recipes/frozen-lake-ppo.toml")),
    ("snake-ppo", include_str!("../examples/recipes/snake-ppo.toml")),
    ("tic-tac-toe-ppo", include_str!("../examples/recipes/tic-tac-toe-ppo.toml")),
];

/// The text of a recipe.
pub fn recipe(name: &str) -> Option<&'static str> {
    RECIPES.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}
