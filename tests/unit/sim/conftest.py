from tests.doubles.flashrag import flashrag_root as flashrag_root
from tests.doubles.flashrag import write_flashrag as write_flashrag
