from . import datasets, judges, published, reports, scoring, selectors, tiny
from .decisions.conditions import Decision, decide
from .decisions.four_regimes import Regimes, regimes
from .engine.applied_plan import apply
from .engine.baking import bake
from .engine.planned_loading import load
from .engine.skipping import skipping
from .engine.speculation import speculative
from .evaluation.accuracy import paired_difference, score_accuracy
from .evaluation.timing import prefill_times
from .experiments.measure_run import measure_run
from .experiments.merging import merged
from .experiments.score_layers import rescore
from .experiments.spec import Spec, read_spec
from .experiments.sweep_run import sweep
from .hidden_states.dataset_run import states_run
from .hidden_states.moment_bounds import functional_bounds
from .hidden_states.moment_losses import ReconstructionLosses, reconstruction_losses
from .hidden_states.moment_recorder import MomentsRecord
from .hidden_states.moment_recording import moments
from .hidden_states.moment_result import Moments
from .hidden_states.recording import states
from .hidden_states.state_record import StatesRecord
from .hidden_states.stored_states import StoredStates, read_states
from .measure.attention_ratio import AttentionRecord, attention
from .measure.attention_removal import RemovalRecord, removal
from .measure.causal_tracing import Noise, Trace, trace
from .measure.damage_record import Damage
from .measure.distances import ProbeRecord, probe
from .measure.error_propagation import Consequences, consequences
from .measure.logit_lens import Lens, LensRecord, lens
from .measure.plan_damage import damage
from .models.families import FAMILIES, Family
from .notions.measured_profile import profile
from .notions.notion_figures import plot_notion, plot_pid, plot_usable_information
from .notions.profile_result import Profile
from .notions.profiling import profile_states
from .planner.optimizing import optimize
from .plans.cost import Cost, Operations, operations, operations_ratio, plan_cost
from .plans.plan import SkipPlan
from .plans.plan_file import PlanFile
from .reports.plots import plot_attention, plot_redundancy, plot_sweep
from .reports.reading_plots import plot_consequences, plot_lens, plot_regimes, plot_trace
from .reports.run_comparison import Comparison, compare
from .self_check.checks import check
from .self_check.findings import Checkup
from .table import Table
from .version import __version__ as __version__

__all__ = [
    "FAMILIES",
    "AttentionRecord",
    "Checkup",
    "Comparison",
    "Consequences",
    "Cost",
    "Damage",
    "Decision",
    "Family",
    "Lens",
    "LensRecord",
    "Moments",
    "MomentsRecord",
    "Noise",
    "Operations",
    "PlanFile",
    "ProbeRecord",
    "Profile",
    "ReconstructionLosses",
    "Regimes",
    "RemovalRecord",
    "SkipPlan",
    "Spec",
    "StatesRecord",
    "StoredStates",
    "Table",
    "Trace",
    "apply",
    "attention",
    "bake",
    "check",
    "compare",
    "consequences",
    "damage",
    "datasets",
    "decide",
    "functional_bounds",
    "judges",
    "lens",
    "load",
    "measure_run",
    "merged",
    "moments",
    "operations",
    "operations_ratio",
    "optimize",
    "paired_difference",
    "plan_cost",
    "plot_attention",
    "plot_consequences",
    "plot_lens",
    "plot_notion",
    "plot_pid",
    "plot_redundancy",
    "plot_regimes",
    "plot_sweep",
    "plot_trace",
    "plot_usable_information",
    "prefill_times",
    "probe",
    "profile",
    "profile_states",
    "published",
    "read_spec",
    "read_states",
    "reconstruction_losses",
    "regimes",
    "removal",
    "reports",
    "rescore",
    "score_accuracy",
    "scoring",
    "selectors",
    "skipping",
    "speculative",
    "states",
    "states_run",
    "sweep",
    "tiny",
    "trace",
]
