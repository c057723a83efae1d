"""The stages of `dvc.yaml`, the experimenter's pipeline."""
