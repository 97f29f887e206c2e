WORDS = {0.0: "nothing", 0.2: "little", 0.4: "some", 0.6: "much", 0.8: "more", 0.95: "most"}
def cost_words(weight):
    return WORDS[min(WORDS, key=lambda level: abs(level - (weight or 0.0)))]
