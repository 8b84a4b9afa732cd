"""A page in the browser to try models on: pictures, sentences, mixers and studies.

``page.py`` is the frame. A tab is one module with a function ``build(models: Models) -> None`` that adds its components
inside the ``gr.Tab`` that the frame has opened, and wires their events. What a tab needs of the rest:

- ``models.names("classifier", "masked_lm")``: the names of the models of these kinds (`tasks.demo.models.KINDS`).
- ``models.open(name, "classifier")``: an `Opened` with ``model`` (evaluation mode, CPU), ``tokenizer`` (of text models,
  else None) and ``folder``; a ``ValueError``, whose message is a sentence for the page, where there is none.
- ``choice.model_choice(models, "classifier", label=...)``: the component from which people take models. The frame
  keeps its list current, also when a model was trained on the page.
- ``words.sentence(error)`` is the HTML of a sentence in place of a result, ``words.telling(function)`` makes a function
  that returns that for a ``ValueError``. No event of a tab raises for what a user did.
- ``picture.read(path)``: an uploaded picture as RGB, or a ``ValueError``.

Results are HTML texts with their pictures inside (``words.data_uri``), so that no file has to be served.
"""
