"""What differs between the files of a teacher and a student, in plain sentences."""

from __future__ import annotations

from core.catalog.card import ModelCard


def diff_cards(teacher: ModelCard, student: ModelCard) -> list[str]:
    """Differences that matter when both answer the same prompts."""
    sentences = []
    # headers and sizes alone would call two fine-tunes of one base the same
    if teacher.weights_sha256 is not None and teacher.weights_sha256 == student.weights_sha256:
        sentences.append("Both are the same model: nothing can have been distilled.")
    if teacher.tokenizer_fingerprint != student.tokenizer_fingerprint:
        sentences.append("The tokenizers differ: log-likelihoods are compared by text, not by token.")
    if teacher.template_fingerprint != student.template_fingerprint:
        sentences.append("The chat templates differ: each model is asked in its own.")
    if teacher.vocab_size != student.vocab_size:
        sentences.append(f"The vocabularies have {teacher.vocab_size} and {student.vocab_size} rows.")
    if teacher.licence != student.licence:
        sentences.append(f"The licences differ: {teacher.licence} and {student.licence}.")
    if not student.base_model:
        sentences.append("The student does not say what it was made from.")
    return sentences
