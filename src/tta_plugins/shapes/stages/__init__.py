"""The stages of training: vae, pool, text and unet in this order; clip and judge do not depend on them."""
