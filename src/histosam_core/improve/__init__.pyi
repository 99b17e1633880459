from .proof import Proof as Proof
from .proof import prove as prove
from .result import Improvement as Improvement
from .run import improve as improve
from .settings import ImproveSettings as ImproveSettings
