output "buckets" {
  description = "ARNs of the buckets, under primary and copy."
  value = {
    primary = module.primary.arn
    copy    = module.copy.arn
  }
}

output "role_arns" {
  description = "ARNs of the roles, under writer, reader, janitor and repairer."
  value       = { for role in local.roles : role => aws_iam_role.this[role].arn }
}

output "replication_role_arn" {
  description = "ARN of the role that S3 replicates with; null where the agent makes the copy."
  value       = one(aws_iam_role.replication[*].arn)
}

output "pgark_yaml" {
  description = "What belongs into /etc/pgark/pgark.yml on the database's host."
  value = templatefile("${path.module}/pgark.yml.tftpl", {
    primary = "s3://${var.primary_bucket}/${var.prefix}?region=${data.aws_region.primary.id}&role=${aws_iam_role.this["writer"].arn}"
    copy    = "s3://${var.copy_bucket}/${var.prefix}?region=${data.aws_region.copy.id}&role=${aws_iam_role.this["writer"].arn}"
    by      = var.copy_by
    mode    = var.lock_mode
    days    = var.lock_days
  })
}
