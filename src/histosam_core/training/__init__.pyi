from .config import TrainConfig as TrainConfig
from .loop import finetune as finetune
from .losses import normalized_focal_loss as normalized_focal_loss
from .scenarios import SCENARIOS as SCENARIOS
from .scenarios import Scenario as Scenario
from .state import TrainResult as TrainResult
from .validation import ValidationScores as ValidationScores
