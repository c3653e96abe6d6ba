"""The commands of the script `train_gazegaussian_optuna.py`, which puts them together; each calls a verb of `helpers`."""
