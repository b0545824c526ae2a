# %% exercise-1
counts = [3, 3, 9, 1]  # 3 for a channel in common, 3 * 3 for two, 1 for none
fourth_row = [count / sum(counts) for count in counts]


# %% exercise-2
def received(weights):
    return weights.mean(dim=0).sum(dim=0)
