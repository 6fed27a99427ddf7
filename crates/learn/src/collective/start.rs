//! Start of the ranks of a run, as the variables of the process tell it.

use super::{Alone, Collective};
use crate::{Error, Result};

/// Joins the ranks that this process was started with, by mpirun or srun. A process that was started by itself is alone.
///
/// # Errors
/// Several ranks in a program without MPI; variables of the process that contradict each other.
pub fn join(deadline: std::time::Duration) -> Result<Box<dyn Collective>> {
    match told_size(&|name| std::env::var(name).ok()) {
        None => Ok(Box::new(Alone)),
        #[cfg(feature = "mpi")]
        Some(_) => Ok(Box::new(super::Mpi::join(deadline)?)),
        #[cfg(not(feature = "mpi"))]
        Some((variable, size)) => {
            let _ = deadline;
            Err(Error::Config(format!(
                "{variable} is {size}: this process was started as one of several ranks, and the program is built without \
                 MPI; build it with the feature `mpi` (docs/cluster.md)"
            )))
        }
    }
}

/// Number of ranks, if it is above 1, with the variable by which the launcher tells it.
fn told_size(variable: &dyn Fn(&str) -> Option<String>) -> Option<(&'static str, usize)> {
    // srun has variables of MPI only where it starts ranks of MPI.
    let by_srun = variable("PMIX_RANK").map(|_| "SLURM_STEP_NUM_TASKS");
    let names = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"].into_iter().chain(by_srun);
    names.filter_map(|name| Some((name, variable(name)?.trim().parse().ok()?))).find(|(_, size)| *size > 1)
}

/// Checks that the variables of torchrun and Slurm tell the same rank and number of ranks as MPI. Below mpirun, Slurm's count
/// mpirun's own helpers and are not looked at.
///
/// # Errors
/// Names the variable and its value.
#[cfg(any(feature = "mpi", test))]
pub fn check_variables(rank: usize, size: usize, variable: &dyn Fn(&str) -> Option<String>) -> Result<()> {
    const MPIRUN: &str = "OMPI_COMMAND";
    let torchrun = [("RANK", rank), ("WORLD_SIZE", size)];
    let slurm = [("SLURM_PROCID", rank), ("SLURM_NTASKS", size)];
    let slurm = slurm.into_iter().filter(|_| variable(MPIRUN).is_none());
    for (name, expected) in torchrun.into_iter().chain(slurm) {
        if let Some(found) = variable(name).filter(|found| found.trim() != expected.to_string()) {
            return Err(Error::Config(format!(
                "{name} is {found}, and MPI started this process as rank {rank} of {size}, so that it should be {expected}; \
                 start the ranks by one launcher, or unset {name}"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Variables of a process.
    fn variables<'a>(set: &'a [(&str, &str)]) -> impl Fn(&str) -> Option<String> + 'a {
        |name| set.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string())
    }

    #[test]
    fn variables_of_other_launchers_must_agree() {
        let check = |set: &[(&str, &str)]| check_variables(1, 4, &variables(set)).map_err(|error| error.to_string());
        assert_eq!(check(&[]), Ok(()));
        assert_eq!(check(&[("RANK", "1"), ("WORLD_SIZE", "4"), ("SLURM_PROCID", "1"), ("SLURM_NTASKS", "4")]), Ok(()));
        let told = check(&[("RANK", "2")]).unwrap_err();
        assert!(told.starts_with("RANK is 2, and MPI started this process as rank 1 of 4"), "{told}");
        assert!(check(&[("WORLD_SIZE", "2")]).unwrap_err().contains("should be 4"));
        assert!(check(&[("SLURM_NTASKS", "2")]).unwrap_err().starts_with("SLURM_NTASKS is 2"));
        let helpers = [("SLURM_PROCID", "0"), ("SLURM_NTASKS", "2"), ("OMPI_COMMAND", "palestra")];
        assert_eq!(check(&helpers), Ok(()));
        assert!(check(&[("RANK", "0"), ("OMPI_COMMAND", "palestra")]).is_err());
    }

    #[test]
    fn a_process_that_is_one_of_several_is_known() {
        let told = |set: &[(&str, &str)]| told_size(&variables(set));
        assert_eq!(told(&[]), None);
        assert_eq!(told(&[("OMPI_COMM_WORLD_SIZE", "2")]), Some(("OMPI_COMM_WORLD_SIZE", 2)));
        assert_eq!(told(&[("PMI_SIZE", "1"), ("PMI_RANK", "0")]), None, "srun with one task");
        let by_srun = [("SLURM_STEP_NUM_TASKS", "8"), ("PMIX_RANK", "0")];
        assert_eq!(told(&by_srun), Some(("SLURM_STEP_NUM_TASKS", 8)));
        assert_eq!(told(&by_srun[..1]), None, "not a rank of MPI");
    }
}
