//! The grid games compared with dynamic programming and published values.

use palestra_envs::grid_world::GridWorld;
use palestra_envs::{Content, End, Env, Options, cliff_walking, double_t_maze, frozen_lake};
use palestra_testing::assert_close;

fn options(toml: &str) -> Options {
    Options::new(toml.parse().expect("TOML"))
}

fn lake(toml: &str) -> GridWorld {
    frozen_lake::world(&options(toml)).expect("options of FrozenLake")
}

fn optimum(world: &GridWorld) -> f64 {
    world.spec().optimal_return.expect("known")
}

#[test]
fn frozen_lake_has_its_known_values() {
    let (small, large) = (lake("map = '4x4'"), lake("map = '8x8'"));
    assert_close!(optimum(&small), 0.7442, 5e-5);
    assert_close!(small.rules().random_return(), 0.0139, 5e-5);
    assert_close!(optimum(&large), 0.9132, 5e-5);
    assert_close!(large.rules().random_return(), 0.0019, 5e-5);
    assert_eq!((small.spec().max_turns, large.spec().max_turns), (Some(100), Some(200)));
    assert_eq!((small.spec().solved_return, large.spec().solved_return), (Some(0.70), Some(0.85)));
}

#[test]
fn ice_that_is_not_slippery_is_a_shortest_path() {
    let mut world = lake("slippery = false\nlimit = 6");
    assert_close!(optimum(&world), 1.0, 1e-12);
    assert_close!(optimum(&lake("slippery = false\nlimit = 5")), 0.0, 1e-12);
    assert!(!world.spec().stochastic);
    world.reset(1).unwrap();
    let mut last = None;
    for _ in 0..6 {
        let action = world.scripted_action().unwrap();
        last = Some(world.step(&action).unwrap());
    }
    let last = last.unwrap();
    assert_eq!((last.reward, last.end), (1.0, Some(End::Terminated)), "terminated wins over the limit");
    assert_eq!(last.observation.info["solved"], true);
}

#[test]
fn the_double_t_maze_has_its_known_shape_and_optimum() {
    let world = double_t_maze::world(&Options::default()).unwrap();
    assert_eq!(world.rules().starts.len(), 25);
    assert_close!(optimum(&world), -6.84, 1e-9);
    assert_close!(f64::from(world.spec().reward_range.0), -4.0, 0.0);
}

#[test]
fn cliff_walking_has_its_known_optimum() {
    let mut world = cliff_walking::world(&Options::default()).unwrap();
    assert_close!(optimum(&world), -13.0, 1e-9);
    world.reset(0).unwrap();
    let step = world.step("right").unwrap();
    assert_eq!((step.reward, step.end), (-100.0, None));
    assert_eq!(
        world.step("left").unwrap().observation.content,
        step.observation.content,
        "a fall leads back to the start"
    );
}

#[test]
fn the_exact_return_of_a_policy_is_what_playing_it_gives() {
    let world = cliff_walking::world(&Options::default()).unwrap();
    // Up from the start, right along the edge, down at the last column.
    let along_the_edge = |cell: usize| match (cell / 12, cell % 12) {
        (3, _) => 3,
        (_, 11) => 1,
        _ => 2,
    };
    fn always(choose: &dyn Fn(usize) -> usize) -> impl Fn(usize, usize) -> f64 {
        |cell, action| f64::from(u8::from(choose(cell) == action))
    }
    assert_close!(world.rules().exact_return(&always(&along_the_edge)), -13.0, 1e-9);
    assert_close!(world.rules().exact_return(&always(&|_| 0)), -200.0, 1e-9);
}

#[test]
fn the_scripted_policy_reaches_the_exact_optimum_on_average() {
    let mut world = lake("");
    let episodes = 4000;
    let mut solved = 0;
    for seed in 0..episodes {
        world.reset(seed).unwrap();
        let end = loop {
            let action = world.scripted_action().unwrap();
            let step = world.step(&action).unwrap();
            if step.end.is_some() {
                break step;
            }
        };
        solved += u32::from(end.reward == 1.0);
    }
    // Three standard errors of 4,000 episodes are 0.021.
    assert_close!(f64::from(solved) / episodes as f64, optimum(&world), 0.021);
}

#[test]
fn views_show_the_same_game() {
    let texts: Vec<Content> =
        ["text", "compact", "none"].map(|view| lake(&format!("view = '{view}'")).reset(0).unwrap().content).into();
    assert_eq!(
        texts[0],
        "You are P on a frozen lake. Walk over the ice S and F to the goal G, and keep out of the holes H.\n\
         PFFF\nFHFH\nFFFH\nHFFG\nMove left, down, right or up."
    );
    assert_eq!(texts[1..], ["A0".to_string(), String::new()]);
    assert_eq!(lake("view = 'compact'").spec().alphabet.as_deref(), Some("0123ABCDdlru"));
    let maze = double_t_maze::world(&options("view = 'text'")).unwrap();
    assert_eq!(
        maze.observation(13 + 3),
        "You are at row 1, column 3. The goal is at row 8, column 6. Walls: up. Move left, down, right or up."
    );
}

#[test]
fn an_action_is_trimmed_and_read_in_any_case_and_an_unknown_one_stays() {
    let mut maze = double_t_maze::world(&Options::default()).unwrap();
    let start = maze.reset(3).unwrap();
    let step = maze.step("north").unwrap();
    assert!(step.invalid_action);
    assert_eq!((step.reward, step.observation.content), (-4.0, start.content));
    assert!(!maze.step(" LEFT\n").unwrap().invalid_action);
    assert!(maze.step("l").unwrap().invalid_action, "letters belong to the compact view");
}

#[test]
fn the_limit_truncates() {
    let mut maze = double_t_maze::world(&options("limit = 2")).unwrap();
    let seed = (0..).find(|&seed| maze.reset(seed).unwrap().content.as_text().contains("at row 1, column 1.")).unwrap();
    maze.reset(seed).unwrap();
    assert_eq!(maze.step("left").unwrap().end, None);
    let last = maze.step("left").unwrap();
    assert_eq!((last.end, last.reward), (Some(End::Truncated), -1.0));
    assert_eq!(last.observation.info["solved"], false);
    assert!(maze.step("left").unwrap_err().to_string().contains("after the episode's end"));
}
