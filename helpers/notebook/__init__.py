"""What notebook cells call: panels, tables and figures of a study while it runs and afterwards."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
