"""The stages of training, in order: vae, pool, text, unet; apart from them: clip, judge."""
