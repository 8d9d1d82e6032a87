"""A model family. Copy the call into FAMILIES of vlm/models/families.py."""

from vlm import Family

MY_FAMILY = Family(
    "my_model",  # config.model_type
    inner="model",  # takes input_ids and pixel_values and calls the decoder; "" is the top module
    decoder="model.language_model",  # has .layers and .norm
    projector="model.multi_modal_projector",  # maps image features to token states
)
