"""The daily e-mail about unread notifications (docs/decisions/0107).

`server` delivers a message by SMTP, `outbox` takes e-mails from the outbox and tries again, `mailer` is the process
beside the service. `authz.queries.digest` decides who gets an e-mail.
"""
