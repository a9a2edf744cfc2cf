"""The known posterior: networks against probabilities that are known exactly.

Writes reports/known_posterior.html, an article in which every claim is computed as it is made. An
identity that fails is shown red, and the script then exits with 1.
"""

from sections import approach, far_away, integration, small_samples

from bnn.report.writing import Article

article = Article(
    name="known_posterior",
    title="The known posterior",
    introduction=(
        "How close do networks come to the true probabilities, with many rows, with few, and away "
        "from all of them? And what does averaging over weights change?",
        "On real data nobody knows the true probability of a class, only which class it was. Here "
        "the data are drawn from distributions that are written down, so the truth is known at "
        "every input, and each method can be held against it. Every number below is computed when "
        "the page is made, and reported whether or not it is what one would have liked.",
    ),
    sections=(
        approach.section,
        small_samples.section,
        far_away.section,
        integration.section,
    ),
)

if __name__ == "__main__":
    article.main()
