from .config import TrainConfig as TrainConfig
from .loop import finetune as finetune
from .losses import normalized_focal_loss as normalized_focal_loss
from .recipes import SCENARIOS as SCENARIOS
from .recipes import Scenario as Scenario
from .state import TrainResult as TrainResult
from .validation import ValidationScores as ValidationScores
