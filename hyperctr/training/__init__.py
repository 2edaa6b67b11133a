"""The training loop and what it needs: tensors and batches, no folders of data."""
