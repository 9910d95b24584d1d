"""One question with its only right answer."""

from dataclasses import dataclass


@dataclass
class Example:
    kind: str  # by which results are counted
    messages: list  # of the chat template, up to the user's question
    answer: str
    tools: list | None = None  # of the chat template

    def prompt(self, tokenizer):
        return tokenizer.apply_chat_template(self.messages, tools=self.tools, add_generation_prompt=True, tokenize=False)
