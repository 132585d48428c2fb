"""A page where a model and its memory can be seen and touched: ``memogen explore``.

:mod:`.loaded` is what is looked at and what it can do, :mod:`.session` the state that all tabs share, :mod:`.draw`, :mod:`.mixture`,
:mod:`.attention` and :mod:`.editing` what is answered, :mod:`.app` the addresses, :mod:`.guard` who may ask, :mod:`.server` the server.
"""
