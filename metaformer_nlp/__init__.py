"""Is a Transformer strong because of its architecture or its token mixer? One MetaFormer core, in images and in text.

Importing this package registers the text model with transformers' Auto classes. `metaformer_nlp.core` needs torch only:
where transformers is not installed, it is all there is.
"""

from importlib.util import find_spec

if find_spec("transformers") is not None:
    import metaformer_nlp.text  # noqa: F401  (registers)
