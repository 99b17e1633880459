from .proof import Improvement as Improvement
from .proof import Proof as Proof
from .proof import prove as prove
from .run import improve as improve
from .settings import ImproveSettings as ImproveSettings
