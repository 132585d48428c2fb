"""``memogen explore``: a page that shows a model and lets its memory be edited.

:mod:`.loaded` is the model and what it can do, :mod:`.session` the shared state, :mod:`.answers` the questions of the page, with :mod:`.draw`,
:mod:`.mixture` and :mod:`.attention`; :mod:`.app` is the web application and :mod:`.server` the server.
"""
