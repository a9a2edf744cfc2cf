"""Cross-entropy is likelihood: what networks are trained with, checked number by number.

Writes reports/cross_entropy.html, an article in which every claim is computed as it is made. An
identity that fails is shown red, and the script then exits with 1.
"""

from sections import (
    activations,
    code_length,
    gradient,
    likelihood,
    other_losses,
    reliability,
    soft_labels,
    temperature,
    training,
    worked_examples,
)

from bnn.report.writing import Article

article = Article(
    name="cross_entropy",
    title="Cross-entropy is likelihood",
    introduction=(
        "What does the number mean that classifiers are trained with? Ten answers, each of them "
        "computed in front of the reader.",
        "To ask what a Bayesian network buys over an ordinary one is to ask what the ordinary one "
        "does, and it is trained with cross-entropy. This article says what that is: minus the log "
        "of a likelihood, the length of a message, a distance to the truth. For every claim it "
        "gives the formula, the number that is expected, the number that was found, and how far "
        "the two may lie apart.",
    ),
    sections=(
        worked_examples.section,
        likelihood.section,
        training.section,
        gradient.section,
        activations.section,
        soft_labels.section,
        code_length.section,
        reliability.section,
        other_losses.section,
        temperature.section,
    ),
)

if __name__ == "__main__":
    article.main()
