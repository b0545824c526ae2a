# %% wrong-and-sure
def is_wrong_and_sure(clip, change):
    answer = probes["ia1 none"].answer(clip, change)
    return answer.best != inputs.table.loc[clip, "label"] and answer.outputs["AV"].max() >= 0.8


pairs = ((clip, broken(gone)) for gone in (60, 80, 100) for clip in test.table["clip"])
name, change = next(pair for pair in pairs if is_wrong_and_sure(*pair))


# %% share-of-look
def share_of_look(faces, answers):
    return 100 * np.mean([LOOKS[face] == LOOKS[answer] for face, answer in zip(faces, answers, strict=True)])
